"""The TensorRT runtime on the real pycuda, over the driver double and the stage double; no GPU is involved."""
