"""What leaves the tool: ONNX files, checked against the network they came from."""
