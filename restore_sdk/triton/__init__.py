"""Serving from NVIDIA Triton Inference Server: its model repository is written here, its client is a runtime.

:func:`restore_sdk.triton.repository.write_repository` writes the repository, ``restore-sdk triton`` is its command;
:class:`restore_sdk.runtime.triton.TritonRunner` lets a :class:`restore_sdk.RestoreEngine` use the server.
"""
