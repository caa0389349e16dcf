"""Put measured tables between the markers of docs/benchmarks.md and docs/model-card.md.

python scripts/fill_tables.py latency out/benchmarks/latency.md    of `python -m benchmarks report`
python scripts/fill_tables.py quality quality.md                   of `python -m training evaluate --markdown`
python scripts/fill_tables.py faithful faithful.md                       the same with `--bundle faithful`
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from restore_sdk._util.disk import write_file
from restore_sdk.errors import OutputError

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"latency": "docs/benchmarks.md", "quality": "docs/model-card.md", "faithful": "docs/model-card.md"}


def filled(page: str, table: str, marker: str) -> str:
    """The page's text with the table between its markers. Raises ``ValueError`` where they do not stand just once."""
    marked = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    text, count = marked.subn(lambda found: f"{found[1]}{table.strip()}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the {marker} markers must stand just once")
    return text


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description="Put a measured table into its page.")
    parser.add_argument("what", choices=PAGES)
    parser.add_argument("table", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    page = ROOT / PAGES[arguments.what]
    try:
        table = arguments.table.read_text(encoding="utf-8")
        write_file(page, filled(page.read_text(encoding="utf-8"), table, arguments.what).encode())
    except (OSError, ValueError, OutputError) as error:
        parser.error(str(error))
    print(page)


if __name__ == "__main__":
    main()
