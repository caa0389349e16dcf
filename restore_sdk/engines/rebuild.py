"""The command that builds an engine again, for the hints of errors."""

from __future__ import annotations

from pathlib import Path

from restore_sdk._util.owned import default_root
from restore_sdk._util.terminal import word
from restore_sdk.bundle import DEFAULT_BUNDLE, Bundle
from restore_sdk.engines.sidecar import Flavour
from restore_sdk.errors import EngineError

#: The shipped recipes.
TARGETS = Path(__file__).resolve().parent / "targets"


#: The hint of an error about an engine where the bundle is not known: who knows it puts :func:`rebuild` there.
AGAIN = "build it again: restore-sdk build"


def rebuild(
    bundle: Bundle | None, root: Path, flavour: Flavour, target: str = "", *, device: int = 0, force: bool = False
) -> str:
    """The command that builds the engines of a bundle: of a shipped recipe by its name, else for GPU ``device``.

    ``force``: even where the store has engines that were found right once.
    """
    command = f"restore-sdk build --flavour {flavour}"
    if force:
        command += " --force"
    if device:
        command += f" --device {device}"
    if target and (TARGETS / f"{target}.toml").is_file():
        command += f" --target {target}"
    if bundle is not None and bundle.path != DEFAULT_BUNDLE:
        command += f" --bundle {word(bundle.address)}"
    try:
        usual = root == default_root()
    except EngineError:
        usual = False
    return command if usual else f"{command} --store {word(root)}"
