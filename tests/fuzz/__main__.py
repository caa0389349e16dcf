"""Coverage-guided fuzzing of an entry point: ``python -m tests.fuzz TARGET [--seconds N]``.

Begins from the corpus in ``tests/fuzz/corpus/TARGET`` and from sound input made anew. What leads to new code is kept in
``.fuzz/TARGET``; a finding is written to ``.fuzz/`` under its hash, and ends the run with status 77 and a traceback.
``--replay FILE`` runs one input. To keep a mended finding for good, copy it into the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS, corpus

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".fuzz"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzz an entry point for strangers' bytes."
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300, help="how long (default 300)")
    parser.add_argument("--runs", type=int, help="instead of --seconds: how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another one each time (default)")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="what is kept and found (default: .fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input and end")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]
    if arguments.replay:
        target(arguments.replay.read_bytes())
        return
    try:
        import atheris
    except ImportError:
        sys.exit("error: atheris is not installed (Linux on x86-64 only): pip install atheris")

    for name, module in sorted(sys.modules.items()):
        if name.startswith("restore_sdk."):
            for key, value in vars(module).items():
                if getattr(value, "__module__", None) == name and hasattr(value, "__code__"):
                    setattr(module, key, atheris.instrument_func(value))
    kept = arguments.scratch / arguments.target
    kept.mkdir(parents=True, exist_ok=True)
    for sample in corpus(arguments.target):
        (kept / hashlib.sha256(sample).hexdigest()[:20]).write_bytes(sample)

    options = [f"-max_total_time={arguments.seconds}"] if arguments.runs is None else [f"-runs={arguments.runs}"]
    options += ["-timeout=20", "-rss_limit_mb=1500", "-max_len=65536", f"-artifact_prefix={arguments.scratch}/"]
    options += [f"-seed={arguments.seed}"] if arguments.seed else []
    atheris.Setup([sys.argv[0], *options, str(kept)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
