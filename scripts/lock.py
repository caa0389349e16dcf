"""Write `requirements/`: the version and the SHA-256 of every package, for continuous integration and for releases.

    python scripts/lock.py              # after a change of pyproject.toml's dependencies
    python scripts/lock.py --upgrade    # to newer versions, too

`runtime.lock` is what the wheel needs, `dev.lock` what ./test.sh installs; one file for every system and every Python
that the project supports. PyTorch and what its build for NVIDIA GPUs brings are left out of it: the CPU build and the
CUDA build are two different files of one version, which the host chooses. pip takes PyTorch at the version that
pyproject.toml names.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
INDEX = "https://pypi.org/simple"
OLDEST = "3.11"

#: Name of the lock: the extras that it holds.
LOCKS: dict[str, tuple[str, ...]] = {"runtime.lock": (), "dev.lock": ("dev",)}

#: Chosen by the host, see above.
LEFT_OUT = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")

_ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)


def without(lock: str, names: re.Pattern[str]) -> str:
    """The text of a lock without the packages whose name matches as a whole."""
    entries = _ENTRY.split(lock)
    return "".join(entry for entry in entries if not names.match(entry.partition("==")[0].strip()))


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description="Lock the dependencies by version and SHA-256 (needs uv and PyPI).")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions; else those of the lock stay")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, extras in LOCKS.items():
        path = FOLDER / name
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet", "--universal"]
        command += ["--python-version", OLDEST, "--generate-hashes", "--no-header", "--index-url", INDEX]
        command += [f"--extra={extra}" for extra in extras] + (["--upgrade"] if arguments.upgrade else [])
        command += ["--output-file", str(path)]  # where it finds what is locked already
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        head = "# Made by scripts/lock.py; PyTorch is left out, see there.\n"
        path.write_text(head + without(path.read_text(encoding="utf-8"), LEFT_OUT), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
