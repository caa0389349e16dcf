"""What is measured: the SDK's runtimes, the PyTorch reference, and the peers, all behind the SDK's own small protocol.

Every subject has a key to ask for it. What it is reported as comes from its own facts, never from the key.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import peers
from benchmarks.peers import torch_threads
from export.errors import ExportError
from export.reference import load_reference
from restore_sdk.bundle import Bundle
from restore_sdk.errors import BundleError, MissingDependencyError, RestoreError
from restore_sdk.measure.bench import NAMED
from restore_sdk.measure.contender import require_named, run_name
from restore_sdk.runtime.base import U8, Inference, StageRunner
from restore_sdk.runtime.cores import threads_alone
from restore_sdk.runtime.select import open_runner
from training.checkpoint import CheckpointError

#: The reference: the networks in PyTorch, float32, on the weights that the bundle holds.
REFERENCE = ("pytorch", "pytorch-compiled")

#: The SDK's runtimes, as it lists them itself.
RUNTIMES = NAMED


@dataclass(frozen=True)
class Subject:
    """Something that restores batches. ``key`` asked for it; ``name`` is what runs, from its own facts."""

    key: str
    name: str
    runner: StageRunner

    @property
    def facts(self) -> dict[str, Any]:
        """What its figures depend on."""
        return self.runner.info()


class TorchRunner:
    """The reference in PyTorch on the CPU, eager or compiled; ``mode`` is one of :data:`REFERENCE`."""

    slots = 1
    max_batch = 16

    def __init__(self, bundle: Bundle, mode: str = "pytorch", threads: int | None = None) -> None:
        self._threads, self._mode = threads or threads_alone(), mode
        try:
            edge, repair = load_reference(bundle.path)
        except (CheckpointError, ExportError) as error:
            raise BundleError(f"no reference in PyTorch: {error}", "measure a bundle that this version made") from error
        self._stages: tuple[Callable[..., Any], Callable[..., Any]] = (edge, repair)
        if mode == "pytorch-compiled":
            if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
                raise MissingDependencyError("torch.compile needs a C++ compiler", "install g++")
            # fullgraph: an operator that cannot be compiled is an error, not a silent return to eager
            self._stages = tuple(torch.compile(each, fullgraph=True, dynamic=False) for each in (edge, repair))

    def infer(self, images: U8, masks: U8, edges: U8) -> Inference:
        """Restore a batch; see :meth:`restore_sdk.runtime.base.StageRunner.infer`."""
        with torch_threads(self._threads), torch.inference_mode():
            started = time.perf_counter()
            image, mask, given = (torch.from_numpy(each) for each in (images, masks, edges))
            completed = self._stages[0](image, mask, given)
            between = time.perf_counter()
            restored = self._stages[1](image, mask, completed)
            ended = time.perf_counter()
        return Inference(restored.numpy(), completed.numpy(), 1e3 * (between - started), 1e3 * (ended - between))

    def info(self) -> dict[str, Any]:
        """Facts, as the SDK's runners give them."""
        return {
            "runtime": "PyTorch compiled" if self._mode == "pytorch-compiled" else "PyTorch eager",
            "runtime_version": torch.__version__,
            "device": "cpu",
            "precision": "fp32",
            "threads": self._threads,
            "max_batch": self.max_batch,
        }

    def close(self) -> None:
        """Nothing to give back."""


class Stable:
    """Opens subjects once and keeps them until the end; use as a context."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._open: dict[tuple[str, int | None, int], Subject | RestoreError] = {}

    def subject(self, key: str, *, threads: int | None = None, slots: int = 1) -> Subject:
        """The subject that ``key`` names, and nothing else.

        Raises:
            RestoreError: it cannot be had on this host; the message says why.
        """
        place = key, threads, slots
        if place not in self._open:
            try:
                self._open[place] = _open(key, self.bundle, threads, slots)
            except RestoreError as error:
                self._open[place] = error
        found = self._open[place]
        if isinstance(found, RestoreError):
            raise found
        return found

    def here(self, keys: Sequence[str]) -> tuple[list[Subject], list[dict[str, str]]]:
        """Those of ``keys`` that can be had on this host, and why the others cannot."""
        found, absent = [], []
        for key in keys:
            try:
                found.append(self.subject(key))
            except RestoreError as error:
                absent.append({"runtime": key, "why": error.message, "hint": error.hint})
        return found, absent

    def __enter__(self) -> Stable:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open.values():
            if isinstance(each, Subject):
                each.runner.close()
        self._open.clear()


def _open(key: str, bundle: Bundle, threads: int | None, slots: int) -> Subject:
    runner: StageRunner
    if key in REFERENCE:
        runner = TorchRunner(bundle, key, threads)
    elif key in peers.KEYS:
        runner = peers.open_peer(key, threads)
    else:
        runner, _ = open_runner(key, bundle, device=0, slots=slots, threads=threads)  # type: ignore[arg-type]
    facts = runner.info()
    if key in RUNTIMES:
        require_named(key, facts)  # type: ignore[arg-type]
    return Subject(key, run_name(facts), runner)
