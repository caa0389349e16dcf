"""Past one machine: Ray Data's callable class, and a model repository for NVIDIA Triton Inference Server.

:class:`RestoreBatches` is for Ray Data. :func:`write_repository` is the command ``restore-sdk triton``;
:class:`restore_sdk.runtime.triton.TritonRunner` lets a :class:`restore_sdk.RestoreEngine` use the server.
"""

from restore_sdk.cluster.ray import RestoreBatches
from restore_sdk.cluster.triton import write_repository

__all__ = ["RestoreBatches", "write_repository"]
