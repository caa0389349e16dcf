"""Past one machine: Ray Data's callable class, a folder on Ray, NVIDIA Triton's model repository.

:class:`RestoreBatches` is for Ray Data. ``restore-sdk triton`` writes the repository
(:func:`restore_sdk.cluster.triton_repository.write_repository`);
:class:`restore_sdk.runtime.triton.TritonRunner` lets a :class:`restore_sdk.RestoreEngine` use the server.
"""

from restore_sdk.cluster.batches import RestoreBatches

__all__ = ["RestoreBatches"]
