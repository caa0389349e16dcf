"""``python -m export delta``: a bundle beside the default one, without what both have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from export.command import status
from restore_sdk._util.atomic import write_folder
from restore_sdk.bundle import Bundle, check_bundle_target
from restore_sdk.bundle.delta import apply_delta, make_delta
from restore_sdk.bundle.manifest import dump_manifest
from restore_sdk.errors import OutputError


def main(argv: Sequence[str]) -> int:
    """Write the bundle anew; 0 when it was written, 2 on a mistake of the caller's."""
    parser = argparse.ArgumentParser(
        prog="python -m export delta",
        description="Write a bundle as what it changes of the default one, for a second model in the wheel. "
        "It needs the default bundle of this release wherever it is used.",
    )
    parser.add_argument("--bundle", required=True, help="folder of the bundle")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; replaces a bundle there")
    options = parser.parse_args(argv)

    def work() -> None:
        written = write_delta(Bundle.load(options.bundle), options.out)
        size = sum(file.stat().st_size for file in written.path.iterdir())
        whole = sum(spec.bytes for spec in written.manifest.files.values())
        print(f"wrote {written.path}: {written.name}, {size / 1e6:.2f} MB instead of {whole / 1e6:.2f}")

    return status(work)


def write_delta(bundle: Bundle, path: Path) -> Bundle:
    """Write a bundle whose files of the same length as the default bundle's are kept as deltas, and open it.

    Raises:
        restore_sdk.errors.BundleError: a file of either bundle is not what its manifest says.
        restore_sdk.errors.OutputError: ``path`` is the default bundle, cannot be written, or holds something else.
    """
    default = Bundle.load()
    if path.resolve() == default.path:
        raise OutputError(f"{path} is the default bundle itself", "name another --out")
    check_bundle_target(path)
    files, specs = {}, {}
    for name, spec in bundle.manifest.files.items():
        data = bundle.read(name)
        twin = default.manifest.files.get(name)
        kept = data
        if twin is not None and twin.bytes == spec.bytes:
            base = default.read(name)
            kept = make_delta(base, data)
            if apply_delta(base, kept) != data:  # nothing is replaced by what cannot be read back
                raise AssertionError(f"the delta of {name} does not make it again")
        smaller = len(kept) < len(data)
        specs[name] = replace(spec, delta=f"{name}.delta" if smaller else None)
        files[specs[name].delta or name] = kept if smaller else data
    files["manifest.json"] = dump_manifest(replace(bundle.manifest, files=specs))
    write_folder(path, files)
    written = Bundle.load(path)
    written.verify_files()
    return written
