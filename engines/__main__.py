"""``python -m engines``: recipe after recipe, each in a process of its own: the editions of TensorRT do not meet, and a
crash costs one target."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from restore_sdk.engines.recipe import load_recipe, names
from restore_sdk.errors import RestoreError

#: The git-ignored store of the checkout.
STORE = Path(__file__).resolve().parent / "store"

#: What the exit codes of ``restore-sdk build`` mean; 3: this host is not the one for the target.
_STATUS = {0: "built", 3: "skipped"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the targets that are named, or all; 0 when some were built, none failed, and none that was named was
    skipped."""
    parser = argparse.ArgumentParser(prog="python -m engines", description="Build the engines of many targets.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: every shipped recipe")
    parser.add_argument("--store", default=str(STORE), metavar="DIR", help="default: engines/store in the checkout")
    parser.add_argument("--bundle", metavar="BUNDLE", help="default, faithful, or the folder of another bundle")
    parser.add_argument("--force", action="store_true", help="build even what the store has")
    options = parser.parse_args(arguments)
    try:
        for target in options.targets:
            load_recipe(target)
    except RestoreError as error:
        parser.error(str(error))
    command = [sys.executable, "-m", "restore_sdk", "build", "--store", options.store]
    command += ["--bundle", options.bundle] if options.bundle else []
    command += ["--force"] if options.force else []
    found = {}
    for target in options.targets or names():
        print(f"== {target}", flush=True)  # what is built, or why it is not, the command says
        try:
            found[target] = _STATUS.get(subprocess.run([*command, "--target", target]).returncode, "failed")
        except KeyboardInterrupt:
            print("interrupted; what was built is in the store", file=sys.stderr)
            return 130
    print("\n".join(f"{status:<8} {target}" for target, status in found.items()))
    bad = {"failed", "skipped"} if options.targets else {"failed"}
    return 1 if bad & set(found.values()) or "built" not in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())
