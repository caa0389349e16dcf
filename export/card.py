"""The data card: what the shipped model was trained on, as the manifest states it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from export.errors import ExportError

DATA_CARD = Path(__file__).with_name("data_card.toml")


def read_card(path: Path = DATA_CARD) -> dict[str, Any]:
    """Read a data card: ``[[data]]`` tables with ``name``, ``licence`` and ``images``; anything else is kept as it is.

    Raises:
        ExportError: the file is missing, no TOML, or a table lacks a key.
    """
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in card["data"]:
            if not (isinstance(entry["name"], str) and isinstance(entry["licence"], str) and entry["images"] >= 0):
                raise ValueError(f"a table under [[data]] is not sound: {entry}")
    except OSError as error:
        raise ExportError(f"the data card cannot be read: {path}: {error.strerror}", "pass --card FILE") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"{path} is no data card: {error}",
            "each [[data]] table needs name, licence and images; see export/data_card.toml",
        ) from error
    return card
