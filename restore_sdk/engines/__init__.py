"""TensorRT: from a bundle's FP16 graphs to engines in the store; recipes, builder, store and sidecars.

The driver of CUDA (``driver``) and the editions of TensorRT (``edition``) stand here for the runtimes, too.
"""
