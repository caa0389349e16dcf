"""Runtimes: one file each, all behind :class:`restore_sdk.runtime.base.StageRunner`."""
