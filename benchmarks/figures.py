"""Reading a report: figures by what they are, and the ratios between them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

#: What ``report`` measures.
SECTIONS = ("latency", "parts", "batch", "size", "start", "memory", "drift")

Report = Mapping[str, Any]
Figure = Mapping[str, Any]

#: Keys of the peers that every report's ratios refer to.
EDGECONNECT, STACK = "edgeconnect-onnxruntime", "stack-onnxruntime"


def section(report: Report, name: str) -> Mapping[str, Any]:
    """A section, empty where it was not measured."""
    found: Mapping[str, Any] = report["sections"].get(name, {})
    return found


def figures(report: Report, name: str, group: str, **facts: Any) -> list[Figure]:
    """The figures of a group in a section, those with these facts."""
    return [
        figure
        for figure in section(report, name).get("figures", ())
        if figure["group"] == group and all(figure["facts"].get(key) == value for key, value in facts.items())
    ]


def one(report: Report, name: str, group: str, **facts: Any) -> Figure | None:
    """The only one of :func:`figures`, or ``None``."""
    found = figures(report, name, group, **facts)
    return found[0] if len(found) == 1 else None


def runtimes(report: Report) -> list[str]:
    """Keys of the SDK's runtimes that the report has whole requests of, fastest first."""
    found = sorted(figures(report, "latency", "request"), key=lambda figure: figure["ms"]["p50"])
    return [figure["facts"]["key"] for figure in found]


def p50(figure: Figure | None) -> float | None:
    """Its median in milliseconds."""
    return None if figure is None else float(figure["ms"]["p50"])


def ratio(above: Figure | None, below: Figure | None) -> float | None:
    """Time of ``above`` by that of ``below``, where both were measured: the median over the rounds of one section.

    Round by round, since what slows the machine down for a round slows both; the ratio of two medians would set a
    quick round of the one against a slow round of the other.
    """
    found = ratios(above, below)
    return statistics.median(found) if found else None


def ratios(above: Figure | None, below: Figure | None) -> list[float]:
    """As :func:`ratio`, of every round."""
    if above is None or below is None:
        return []
    return [a / b for a, b in zip(above["rounds"], below["rounds"], strict=True)]


def rates(above: Figure | None, below: Figure | None) -> list[float]:
    """Images a second of ``above`` by those of ``below``, as :func:`ratios`."""
    if above is None or below is None:
        return []
    images = above["images_per_second"] * above["ms"]["p50"] / (below["images_per_second"] * below["ms"]["p50"])
    return [images * each for each in ratios(below, above)]


def peer(report: Report, key: str) -> Figure | None:
    """The figure of a peer."""
    return one(report, "latency", "stack" if key.startswith("stack") else "chain", key=key)


def worst_drift(report: Report, what: str) -> float | None:
    """The worst picture's PSNR in dB against the reference, over all pictures of the report."""
    found = [each["drift"][what]["restored"]["worst_db"] or 107.0 for each in _drifts(report) if what in each["drift"]]
    return min(found) if found else None


def _drifts(report: Report) -> list[Mapping[str, Any]]:
    return [each for each in section(report, "drift").values() if isinstance(each, dict) and "drift" in each]
