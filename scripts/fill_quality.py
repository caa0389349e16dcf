"""Put measured quality between the `quality` markers of README.md and docs/model-card.md.

    python -m training evaluate --images FACES --masks MASKS --markdown quality.md
    python scripts/fill_quality.py quality.md
    python -m training evaluate --bundle vivid --images FACES --masks MASKS --markdown vivid.md
    python scripts/fill_quality.py vivid.md --vivid

The README gets the first table of the default model, the model card all tables, those of the vivid model between
`vivid` markers. Both pages are filled, or neither.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from restore_sdk._util.atomic import check_writable, write_file
from restore_sdk.errors import OutputError

ROOT = Path(__file__).resolve().parent.parent
README, CARD = ROOT / "README.md", ROOT / "docs" / "model-card.md"


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
    """Fill the pages, or none."""
    parser = argparse.ArgumentParser(description="Put measured quality into the README and the model card.")
    parser.add_argument("tables", type=Path, help="what `python -m training evaluate --markdown` wrote")
    parser.add_argument("--vivid", action="store_true", help="of the vivid model: into the model card alone")
    arguments = parser.parse_args()
    try:
        tables = arguments.tables.read_text(encoding="utf-8")
        first = tables.partition("\n\n")[0]
        wanted = (
            {CARD: ("vivid", tables)} if arguments.vivid else {README: ("quality", first), CARD: ("quality", tables)}
        )
        pages = {}
        for page, (marker, text) in wanted.items():
            pages[page] = filled(page.read_text(encoding="utf-8"), text, marker).encode()
        write_all(pages)
    except (OSError, ValueError, OutputError) as error:
        parser.error(str(error))
    print(*pages)


if __name__ == "__main__":
    main()
