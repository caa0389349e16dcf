"""From a bundle's FP16 graphs to TensorRT engines in the store: recipe, builder, inspection, golden vectors."""
