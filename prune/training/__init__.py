"""Training, retraining and distillation on CUDA, MPS or CPU."""
