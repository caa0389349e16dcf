"""Write `requirements/`: the version and the SHA-256 of every package, for continuous integration and for releases.

    python scripts/lock.py              # after a change of pyproject.toml's dependencies
    python scripts/lock.py --upgrade    # to newer versions, too

`runtime.lock` is what the wheel needs, `service.lock` what the Dockerfile installs, `dev.lock` what ./test.sh installs,
`fetched.lock` what tests fetch by themselves (tests/fetched.py); one file for every system and every Python that the
project supports. PyTorch and what its build for NVIDIA GPUs brings are left out: the CPU build and the CUDA build are
two different files of one version, which the host chooses. pip takes PyTorch at the version that pyproject.toml names.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
sys.path.insert(0, str(ROOT))

from tests import fetched  # noqa: E402

INDEX = "https://pypi.org/simple"
OLDEST = "3.11"

#: Name of the lock: the extras that it holds.
LOCKS: dict[str, tuple[str, ...]] = {"runtime.lock": (), "service.lock": ("serve",), "dev.lock": ("dev",)}

#: Chosen by the host, see above.
LEFT_OUT = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")

_ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)


def without(lock: str, names: re.Pattern[str]) -> str:
    """The text of a lock without the packages whose name matches as a whole."""
    entries = _ENTRY.split(lock)
    return "".join(entry for entry in entries if not names.match(entry.partition("==")[0].strip()))


def compile_lock(*options: str) -> str:
    """What uv locks for these inputs, with hashes, for every system and Python."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST]
    command += ["--generate-hashes", "--no-header", "--index-url", INDEX, *options]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def lock_fetched() -> str:
    """Each for itself: some are versions of the same package."""
    parts = {name: ["--no-deps"] for name in fetched.ALONE} | {name: [] for name in fetched.WITH_REQUIREMENTS}
    text = ""
    for requirement, options in parts.items():
        with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
            print(requirement, file=file, flush=True)
            text += re.sub(r"^ +# .*\n", "", compile_lock(*options, file.name), flags=re.MULTILINE)
    return text


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Lock the dependencies by version and SHA-256 (needs uv and PyPI).")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions; else those of the lock stay")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, extras in LOCKS.items():
        path = FOLDER / name
        options = [f"--extra={extra}" for extra in extras] + (["--upgrade"] if arguments.upgrade else [])
        compile_lock("pyproject.toml", *options, "--output-file", str(path))  # where it finds what is locked already
        head = "# Made by scripts/lock.py; PyTorch is left out, see there.\n"
        path.write_text(head + without(path.read_text(encoding="utf-8"), LEFT_OUT), encoding="utf-8")
        print(path)
    fetched.LOCK.write_text("# Made by scripts/lock.py: what tests fetch by themselves.\n" + lock_fetched())
    print(fetched.LOCK)


if __name__ == "__main__":
    main()
