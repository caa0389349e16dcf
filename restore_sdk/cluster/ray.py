"""Restoring in a Ray Data pipeline: :class:`RestoreBatches` for ``Dataset.map_batches``, one engine an actor."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import InputError
from restore_sdk.runtime import Runtime
from restore_sdk.tiling.request import OptionKeywords, RestoreOptions


class RestoreBatches:
    """Adds a column ``restored`` to batches with the columns ``image`` and ``mask``.

        dataset.map_batches(RestoreBatches, compute=ray.data.ActorPoolStrategy(size=4), num_cpus=1, batch_size=8)

    Each actor opens one engine when it starts and keeps it. The columns hold pictures of one size or of many, in the
    forms that :class:`restore_sdk.RestoreEngine` takes; ``restored`` has the pictures' sizes and channels. All other
    columns stay.

    Args:
        bundle: folder of a model bundle on the worker, or the name of one installed there; ``None`` is the default.
        runtime: see :class:`restore_sdk.RestoreEngine`. Give the actor a GPU with ``num_gpus=1`` for TensorRT.
        threads: CPU threads of an engine: as many as the ``num_cpus`` that Ray gives the actor.
        errors: ``"raise"`` ends the pipeline at the first row that cannot be restored. ``"column"`` adds a column
            ``error``, empty where all went well; the ``restored`` of a row that failed has no pixels.
        options: how to restore; ``keywords`` are its fields, and replace those of ``options``.

    Raises:
        BundleError, MissingDependencyError, EngineError (not-built), DeviceError: the engine cannot be opened there.
        InputError: an argument, a missing column, or with ``errors="raise"`` a row that cannot be used.
        ExecutionError: the runtime failed; a row's error never stands for that.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        runtime: Runtime = "auto",
        threads: int = 1,
        errors: Literal["raise", "column"] = "raise",
        options: RestoreOptions | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> None:
        if errors not in ("raise", "column"):
            raise InputError(f"errors is {errors!r}", 'pass "raise" or "column"')
        self._options = replace(options or RestoreOptions(), **keywords)  # what is wrong with them is no row's fault
        self._engine = RestoreEngine(bundle, runtime=runtime, threads=threads)
        self._column = errors == "column"

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Restore a batch."""
        missing = [name for name in ("image", "mask") if name not in batch]
        if missing:
            raise InputError(f"the batch has no column {missing[0]!r}, but {', '.join(batch)}", "rename the column")
        images, masks = list(batch["image"]), list(batch["mask"])
        errors = [""] * len(images)
        try:
            restored = self._engine.restore_batch(images, masks, self._options)
        except InputError:
            if not self._column:
                raise
            restored = []
            for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
                try:
                    restored.append(self._engine.restore(image, mask, self._options))
                except InputError as error:
                    errors[row] = f"{type(error).__name__}: {error}"
                    restored.append(np.zeros((0, 0, *np.shape(image)[2:]), np.uint8))
        result = {**batch, "restored": _column(restored)}
        return {**result, "error": np.array(errors, dtype=object)} if self._column else result


def _column(pictures: list[NDArray[np.uint8]]) -> NDArray[Any]:
    """One array of pictures of one size, else an array of arrays: what Ray Data takes as a tensor column."""
    if len({picture.shape for picture in pictures}) == 1:
        return np.stack(pictures)
    column = np.empty(len(pictures), dtype=object)
    column[:] = pictures
    return column
