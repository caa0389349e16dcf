"""Put a table of measured quality between the `quality` markers of README.md and docs/model-card.md.

    python -m training evaluate --images FACES --masks MASKS --markdown quality.md
    python scripts/fill_quality.py quality.md

Both pages are filled, or neither.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from restore_sdk.atomic import check_writable, write_file
from restore_sdk.errors import OutputError

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "model-card.md")


def filled(page: str, table: str, marker: str = "quality") -> str:
    """The page's text with the table between its markers. Raises ``ValueError`` where they do not stand just once."""
    marked = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    text, count = marked.subn(lambda found: f"{found[1]}{table.strip()}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the {marker} markers must stand just once")
    return text


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write files, each whole, once it is known that all can be. Raises ``OutputError``."""
    for path in files:
        check_writable(path)
    for path, data in files.items():
        write_file(path, data)


def main() -> None:
    """Fill both pages, or none."""
    parser = argparse.ArgumentParser(description="Put a table of measured quality into the README and the model card.")
    parser.add_argument("table", type=Path, help="what `python -m training evaluate --markdown` wrote")
    arguments = parser.parse_args()
    try:
        table = arguments.table.read_text(encoding="utf-8")
        write_all({page: filled(page.read_text(encoding="utf-8"), table).encode() for page in PAGES})
    except (OSError, ValueError, OutputError) as error:
        parser.error(str(error))
    print(*PAGES)


if __name__ == "__main__":
    main()
