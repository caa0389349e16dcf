"""Put a measured report's table and plot into README.md, between the `latency` markers and at docs/images/latency.png.

python -m benchmarks report --out out/benchmarks
python scripts/fill_latency.py out/benchmarks
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fill_quality import ROOT, filled, write_all

from restore_sdk.errors import OutputError

PAGE, PICTURE = ROOT / "README.md", ROOT / "docs" / "images" / "latency.png"

#: The picture is part of every clone.
MOST_BYTES = 100_000


def fill(report: Path, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Fill both, or neither. Raises ``ValueError``, ``OSError`` or ``OutputError`` where something is amiss."""
    table = (report / "readme.md").read_text(encoding="utf-8")
    plot = (report / "latency.png").read_bytes()
    if len(plot) > MOST_BYTES:
        raise ValueError(f"the plot has {len(plot)} bytes, at most {MOST_BYTES} are taken")
    text = filled(page.read_text(encoding="utf-8"), table, "latency")
    write_all({page: text.encode(), picture: plot})


def main() -> None:
    """Fill the README."""
    parser = argparse.ArgumentParser(description="Put a report's table and plot into the README.")
    parser.add_argument("report", type=Path, help="the folder that `python -m benchmarks report --out` wrote")
    arguments = parser.parse_args()
    try:
        fill(arguments.report)
    except (OSError, ValueError, OutputError) as error:
        parser.error(str(error))
    print(PAGE, PICTURE)


if __name__ == "__main__":
    main()
