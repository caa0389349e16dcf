"""What TensorRT says when it refuses, as this SDK's errors; its own words are kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from restore_sdk.errors import (
    BuildCancelledError,
    BuildError,
    BuildOutOfMemoryError,
    BuildParseError,
    BuildPrecisionError,
    BuildProfileError,
)

#: Said by a TensorRT that finds no driver while it reports some other error; not the reason for it.
_NOISE = re.compile(r"cudaError 35|--- (Begin|End) node ---|^While parsing node", re.MULTILINE)

#: First match wins: what TensorRT says, the error, what to do.
_KINDS: tuple[tuple[str, type[BuildError], str], ...] = (
    (
        r"build ?cancell?ed",
        BuildCancelledError,
        "nothing was written; allow more time with --timeout",
    ),
    (
        r"no optimization profile|optimization profile .*(not set|missing)|invalid optimization profile",
        BuildProfileError,
        "give every input with an open axis a least, usual and greatest size",
    ),
    (
        r"must have (the )?same (input )?types?|must be of (the )?same type|(input|output)s? (has|have) type"
        r"|strongly.typed|type mismatch",
        BuildPrecisionError,
        "a strongly typed graph casts where types meet: export the model again with: python -m export",
    ),
    (
        r"out of (device )?memory|outofmemory|out of host memory|insufficient (workspace|memory)|failed_allocation"
        r"|cudaError 2\b|could not find any implementation|within workspace limit|requires workspace memory|bad_alloc"
        r"|requested (amount|size) .* memory",
        BuildOutOfMemoryError,
        "raise workspace_mib in the recipe, free device memory, or lower max_batch",
    ),
    (
        r"plugin not found|no importer registered|unsupported (node|operator|onnx)",
        BuildParseError,
        "this TensorRT has no such operator: take a newer one, or export the model with operators that it has",
    ),
)
_OTHER_PARSE = "the graph is damaged or not what this SDK exports: export the model again with: python -m export"
_OTHER = "run: restore-sdk doctor, and report the lines above with its output"


def failure(stage: str, label: str, said: Sequence[str], *, parsing: bool, facts: str = "") -> BuildError:
    """The error for a refused stage.

    Args:
        stage: name of the stage.
        label: name and version of the TensorRT.
        said: its messages, the reason first.
        parsing: whether it refused to read the graph, rather than to build the engine.
        facts: what this side knows about the matter, such as the memory that was allowed.
    """
    words = [line for line in map(_clean, said) if line]
    text = "; ".join(dict.fromkeys(words))[:1200] or "it gives no reason"
    kind, hint = next(
        ((kind, hint) for pattern, kind, hint in _KINDS if re.search(pattern, "\n".join(said), re.IGNORECASE)),
        (BuildParseError, _OTHER_PARSE) if parsing else (BuildError, _OTHER),
    )
    verb = "cannot read the graph of" if parsing else "cannot build"
    facts = f" ({facts})" if facts else ""
    return kind(f"{label} {verb} stage {stage}{facts}: {text}", hint)


def _clean(message: str) -> str:
    """One line, without what stands in every message and says nothing."""
    lines = [line for line in message.splitlines() if line.strip() and not _NOISE.search(line)]
    return re.sub(r"\s+In \w+ at \S+\)", ")", " ".join(" ".join(lines).split()))
