"""Names that NVIDIA Triton's model repository and its client agree on."""

#: Names of the ensembles: the restored image, and with it the completed edges. The stages are called after the first.
MODEL, MODEL_WITH_EDGES = "restore", "restore_with_edges"
#: Key of the ensemble's parameter that holds :meth:`restore_sdk.bundle.Bundle.facts` as JSON.
FACTS = "restore_sdk"
