"""Make a release out of the last commit: wheel and source archive, a list of what the wheel needs, checksums.

    python scripts/release.py --out dist

Both archives are built twice, in two folders, under two umasks, time zones and hash seeds; they are written only when
the bytes are the same. `restore-sdk-VERSION.cdx.json` is a software bill of materials (CycloneDX 1.6) of the versions
and hashes in requirements/runtime.lock; `SHA256SUMS` is for `sha256sum --check`. Uncommitted changes have no part in a
release.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What the two builds differ in; none of it may be seen in the result.
HOSTS = (
    {"TZ": "UTC", "PYTHONHASHSEED": "1", "umask": "022", "folder": "a"},
    {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "umask": "077", "folder": "another/place"},
)


class ReleaseError(Exception):
    """No release can be made of this commit."""


def committed(root: Path) -> tuple[bytes, str]:
    """The last commit as a tar archive, and its time in seconds."""
    archive = _run(["git", "archive", "--format=tar", "HEAD"], root)
    return archive, _run(["git", "log", "-1", "--format=%ct"], root).decode().strip()


def build(archive: bytes, epoch: str, place: Path, host: dict[str, str]) -> dict[str, bytes]:
    """Wheel and source archive by name, built in a folder under ``place`` as if on that host."""
    folder = place / host["folder"]
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder / "source", filter="data")
    for path in (folder / "source").rglob("*"):
        if not path.is_symlink():
            os.utime(path)  # a checkout of another time
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "TZ": host["TZ"], "PYTHONHASHSEED": host["PYTHONHASHSEED"]}
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "source"),
    ]
    _run(command, folder, environment, int(host["umask"], 8))
    return {path.name: path.read_bytes() for path in sorted((folder / "dist").iterdir())}


def bill_of_materials(root: Path, epoch: str) -> bytes:
    """CycloneDX 1.6 in JSON: the project, and each locked package that the wheel needs, with hashes."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml"]
    command += ["--mc-type", "library", "--sv", "1.6", "--output-reproducible", "requirements/runtime.lock"]
    return _run(command, root, {**os.environ, "SOURCE_DATE_EPOCH": epoch})


def make(root: Path) -> dict[str, bytes]:
    """All files of the release by name."""
    archive, epoch = committed(root)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        first, second = (build(archive, epoch, place, host) for host in HOSTS)
        if first != second:
            differ = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
            raise ReleaseError(f"two builds of one commit differ: {', '.join(differ)}")
        bill = bill_of_materials(place / HOSTS[0]["folder"] / "source", epoch)
    (wheel,) = (name for name in first if name.endswith(".whl"))
    files = {**first, f"{'-'.join(wheel.split('-')[:2]).replace('_', '-')}.cdx.json": bill}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return {**files, "SHA256SUMS": sums.encode()}


def main() -> None:
    """Write the release into a folder that holds nothing yet."""
    parser = argparse.ArgumentParser(description="Make a release out of the last commit.")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="a folder that is new or empty (default: dist)")
    arguments = parser.parse_args()
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        parser.error(f"{arguments.out} holds something already: remove it, or name another folder")
    try:
        files = make(ROOT)
    except ReleaseError as error:
        sys.exit(f"error: {error}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (arguments.out / name).write_bytes(data)
    print(files["SHA256SUMS"].decode(), end="")


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None, umask: int = -1) -> bytes:
    done = subprocess.run(command, cwd=folder, env=environment, umask=umask, capture_output=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{' '.join(command[:4])} failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
