"""ONNX files that are checked before they are called done (imported as prune_dl.export)."""
