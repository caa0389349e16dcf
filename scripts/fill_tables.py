"""Put measured tables between the markers of README.md and docs/model-card.md; all pages are filled, or none.

    python scripts/fill_tables.py latency out/benchmarks/readme.md     of `python -m benchmarks report`
    python scripts/fill_tables.py quality quality.md                   of `python -m training evaluate --markdown`
    python scripts/fill_tables.py vivid vivid.md                       the same with `--bundle vivid`

Of `quality` the README gets the first table, the model card all; `vivid` goes into the model card alone.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from restore_sdk._util.atomic import check_writable, write_file
from restore_sdk.errors import OutputError

ROOT = Path(__file__).resolve().parent.parent
README, CARD = ROOT / "README.md", ROOT / "docs" / "model-card.md"
PAGES = {"latency": (README,), "quality": (README, CARD), "vivid": (CARD,)}


def filled(page: str, table: str, marker: str) -> str:
    """The page's text with the table between its markers. Raises ``ValueError`` where they do not stand just once."""
    marked = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    text, count = marked.subn(lambda found: f"{found[1]}{table.strip()}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the {marker} markers must stand just once")
    return text


def main() -> None:
    """Fill the pages, or none."""
    parser = argparse.ArgumentParser(description="Put measured tables into the README and the model card.")
    parser.add_argument("what", choices=PAGES)
    parser.add_argument("tables", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    try:
        tables, pages = arguments.tables.read_text(encoding="utf-8"), {}
        for page in PAGES[arguments.what]:
            table = tables.partition("\n\n")[0] if (arguments.what, page) == ("quality", README) else tables
            pages[page] = filled(page.read_text(encoding="utf-8"), table, arguments.what)
        for page in pages:
            check_writable(page)
        for page, text in pages.items():
            write_file(page, text.encode())
    except (OSError, ValueError, OutputError) as error:
        parser.error(str(error))
    print(*pages)


if __name__ == "__main__":
    main()
