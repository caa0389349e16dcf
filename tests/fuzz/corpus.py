"""What the fuzzer begins from, and what every test run tries again."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.targets import seeds

#: Small inputs that led to new code, and those that once were a finding.
CORPUS = Path(__file__).resolve().parent / "corpus"


def corpus(target: str) -> list[bytes]:
    """Sound input, then the kept files."""
    return [*seeds(target), *(path.read_bytes() for path in sorted((CORPUS / target).glob("*")))]
