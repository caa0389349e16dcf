"""From trained weights to a model bundle: one ONNX graph a stage and its FP16 twin, gates, golden vectors, manifest."""
