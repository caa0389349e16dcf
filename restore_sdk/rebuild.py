"""The command that builds an engine again, for the hints of errors."""

from __future__ import annotations

from pathlib import Path

from restore_sdk.bundle import DEFAULT_BUNDLE, SHIPPED, Bundle
from restore_sdk.errors import EngineError
from restore_sdk.owned import default_root
from restore_sdk.sidecar import Flavour
from restore_sdk.terminal import word

#: The shipped recipes.
TARGETS = Path(__file__).resolve().parent / "build" / "targets"


def rebuild(bundle: Bundle | None, root: Path, flavour: Flavour, target: str = "") -> str:
    """The command that builds the engines of a bundle: of a shipped recipe by its name, else for the device at hand."""
    command = f"restore-sdk build --flavour {flavour}"
    if target and (TARGETS / f"{target}.toml").is_file():
        command += f" --target {target}"
    if bundle is not None and bundle.path != DEFAULT_BUNDLE:
        names = {folder: name for name, folder in SHIPPED.items()}
        command += f" --bundle {word(names.get(bundle.path, bundle.path))}"
    try:
        usual = root == default_root()
    except EngineError:
        usual = False
    return command if usual else f"{command} --store {word(root)}"
