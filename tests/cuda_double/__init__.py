"""Test equipment: a double of the CUDA driver over host memory, and of TensorRT on top of it. No GPU is involved."""
