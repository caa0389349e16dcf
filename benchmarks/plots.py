"""The report's plots. Every axis says its unit, and whether it is logarithmic."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image

from benchmarks.figures import EDGECONNECT, Report, figures, p50, peer, ratio, section, worst_drift
from benchmarks.inputs import LEAST_DB
from restore_sdk._util.atomic import write_file

#: What is the SDK's own, the reference, and what others made.
OURS, REFERENCE, PEER = "#0b6e8a", "#6b7280", "#c2762e"

_LINES = ("#0b6e8a", "#3fa7a0", "#7a5195", "#d1495b", "#6b7280", "#c2762e")
_PARTS = {
    "decode": "#b8c4cc",
    "crop": "#8fb8c9",
    "Canny": "#5f9fb5",
    "wait": "#d9d9d9",
    "edge": "#0b6e8a",
    "repair": "#07475a",
    "paste": "#e0b482",
    "encode": "#c2762e",
}


def draw(report: Report, folder: Path) -> list[str]:
    """Write every plot that the report has figures for into ``folder``; returns their file names."""
    made = []
    for name, plot in _PLOTS.items():
        figure = plot(report)
        if figure is not None:
            _save(figure, folder / f"{name}.png")
            made.append(f"{name}.png")
    return made


def latency(report: Report) -> Figure | None:
    """Milliseconds of everything that was measured, fastest first, with the spread over the rounds."""
    rows = latency_rows(report)
    if not rows:
        return None
    figure, axes = _axes(9.0, 0.9 + 0.34 * len(rows))
    edgeconnect = peer(report, EDGECONNECT)
    for place, (_, colour, each) in enumerate(reversed(rows)):
        middle, (low, high) = each["ms"]["p50"], (min(each["rounds"]), max(each["rounds"]))
        low, high = min(low, middle), max(high, middle)
        if edgeconnect is not None and each is edgeconnect:
            axes.axvline(middle, color=PEER, lw=0.8, ls=":")
        axes.errorbar(middle, place, xerr=[[middle - low], [high - middle]], color=colour, capsize=3, lw=1.4)
        axes.plot(middle, place, "o", color=colour, ms=7)
        text = f"  {_short(middle)} ms"
        faster = ratio(edgeconnect, each)
        if faster and colour == OURS:
            text += f" ({faster:.0f} x)"
        axes.annotate(text, (high, place), va="center", fontsize=8.5, color=colour)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in reversed(rows)], fontsize=9)
    for tick, (_, colour, _) in zip(axes.get_yticklabels(), reversed(rows), strict=True):
        tick.set_color(colour)
    values = [each["ms"]["p50"] for _, _, each in rows]
    _log_ms(axes)
    axes.set_xlim(min(values) / 1.6, max(max(each["rounds"]) for _, _, each in rows) * 2)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("milliseconds for one 256 x 256 image, logarithmic axis")
    axes.grid(axis="x", alpha=0.3, which="both")
    title = (
        f"Latency on {_machine(report)}. Dot: median; bar: lowest to highest median of five rounds\n"
        "(n x): times as fast as EdgeConnect's two stages on ONNX Runtime, the dotted line"
    )
    figure.suptitle(title, fontsize=10)
    return figure


def latency_rows(report: Report) -> list[tuple[str, str, dict[str, Any]]]:
    """Label, colour and figure of all that one image was given to, fastest first."""
    rows: list[tuple[str, str, Any]] = [
        (f"Restore SDK, {each['what']}, whole request", OURS, each) for each in figures(report, "latency", "request")
    ]
    for each in figures(report, "latency", "chain"):
        key = each["facts"]["key"]
        if key.startswith("pytorch"):
            rows.append((f"its reference, {each['what']}, stages only", REFERENCE, each))
        elif key.startswith("edgeconnect"):
            rows.append((f"{each['what']}, stages only", PEER, each))
    for group in ("stack", "opencv"):
        rows += [(each["what"], PEER, each) for each in figures(report, "latency", group)]
    return sorted(rows, key=lambda row: row[2]["ms"]["p50"])


def throughput(report: Report) -> Figure | None:
    """Images a second by batch."""
    lines: dict[str, list[Any]] = {}
    for each in figures(report, "batch", "batch"):
        lines.setdefault(each["what"], []).append(each)
    if not lines:
        return None
    figure, axes = _axes(7.0, 3.8)
    for number, (what, found) in enumerate(lines.items()):
        reference = what.startswith("PyTorch")
        label = f"{what}, stages only" if reference else f"{what}, restore_batch"
        counts = [each["facts"]["batch"] for each in found]
        colour = REFERENCE if reference else _LINES[number % len(_LINES)]
        axes.plot(counts, [each["images_per_second"] for each in found], "o-", color=colour, label=label)
    axes.set_xscale("log", base=2)
    ticks = sorted({each["facts"]["batch"] for found in lines.values() for each in found})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images a batch, logarithmic")
    axes.set_ylabel("images a second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8.5)
    axes.set_title(f"Throughput on {_machine(report)}", fontsize=10, loc="left")
    return figure


def drift(report: Report) -> Figure | None:
    """Drift in the worst picture against milliseconds of the two stages."""
    points = []
    for each in figures(report, "latency", "chain"):
        worst = worst_drift(report, each["what"])
        if worst is not None:
            points.append((each["what"], p50(each), worst))
    if not points:
        return None
    figure, axes = _axes(7.0, 3.8)
    for what, ms, worst in points:
        colour = REFERENCE if what.startswith("PyTorch") else OURS
        axes.plot(ms, worst, "o", color=colour, ms=8)
        axes.annotate(f" {what}, {worst:.0f} dB", (ms, worst), xytext=(6, 5), textcoords="offset points", fontsize=8.5)
    axes.axhline(LEAST_DB, color=PEER, ls="--", lw=1)
    axes.annotate(f"gate, {LEAST_DB:g} dB", (0.99, LEAST_DB), xycoords=("axes fraction", "data"), color=PEER,
                  ha="right", va="bottom", fontsize=8.5)  # fmt: skip
    _log_ms(axes)
    times = [ms for _, ms, _ in points if ms]
    axes.set_xlim(min(times) / 1.5, max(times) * 2.5)
    axes.set_ylim(min(40.0, *(worst - 5 for _, _, worst in points)), max(worst for _, _, worst in points) + 10)
    axes.set_xlabel("milliseconds of the two stages, one 256 x 256 image, logarithmic")
    axes.set_ylabel("dB from the reference, worst picture")
    axes.grid(alpha=0.3)
    axes.set_title("Drift against latency; up is nearer to the reference, left is faster", fontsize=10, loc="left")
    return figure


def parts(report: Report) -> Figure | None:
    """Where the time of a whole photograph goes, by runtime."""
    rows = photo_parts(report)
    if not rows:
        return None
    figure, axes = _axes(9.0, 1.4 + 0.55 * len(rows))
    for place, (_, found) in enumerate(reversed(rows)):
        total, start = sum(found.values()), 0.0
        for part, ms in found.items():
            share = 100 * ms / total
            axes.barh(place, share, left=start, color=_PARTS[part], edgecolor="white", height=0.62)
            if share >= 7:
                light = part in ("edge", "repair", "Canny")
                axes.text(start + share / 2, place, f"{part}\n{_short(ms)} ms", ha="center", va="center", fontsize=8,
                          color="white" if light else "black")  # fmt: skip
            start += share
    axes.set_yticks(range(len(rows)), [f"{w}\n{sum(f.values()):.1f} ms" for w, f in reversed(rows)], fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent of the time from file to file, 256 x 256 PNG; medians of the parts")
    names = [part for part in _PARTS if any(part in found for _, found in rows)]
    handles = [axes.barh(0, 0, color=_PARTS[part]) for part in names]
    axes.legend(
        handles, names, ncol=len(names), fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False
    )
    return figure


def photo_parts(report: Report) -> list[tuple[str, dict[str, float]]]:
    """Milliseconds by part of a photograph from file to file, by runtime; Canny is taken out of the crop's time."""
    canny = [p50(each) for each in figures(report, "parts", "host part") if each["what"] == "Canny"]
    rows = []
    for each in figures(report, "latency", "photo"):
        found = dict(each["parts"])
        ordered = {"decode": found["decode"]}
        if canny and canny[0] is not None:
            ordered["crop"] = max(0.0, found["prepare"] - canny[0])
            ordered["Canny"] = min(canny[0], found["prepare"])
        else:
            ordered["crop"] = found["prepare"]
        ordered |= {part: found[part] for part in ("wait", "edge", "repair", "paste", "encode")}
        rows.append((each["what"], ordered))
    return rows


def memory(report: Report) -> Figure | None:
    """Memory of a process over its requests, by runtime."""
    runs = {
        what: run for what, run in section(report, "memory").get("runs", {}).items()
        if run["memory"] and run["memory"][0][1] is not None
    }  # fmt: skip
    if not runs:
        return None
    figure, axes = _axes(7.0, 3.8)
    for number, (what, run) in enumerate(runs.items()):
        grown = run["grown_percent"]
        label = what if grown is None else f"{what}, changed by {grown:+.2f} %"
        turns, values = zip(*run["memory"], strict=True)
        axes.plot(turns, values, color=_LINES[number % len(_LINES)], label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("requests served by one process, 256 x 256")
    axes.set_ylabel("MB in RAM")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8.5, loc="lower right")
    axes.set_title("Memory over time", fontsize=10, loc="left")
    return figure


_PLOTS: dict[str, Callable[[Report], Figure | None]] = {
    "latency": latency,
    "throughput": throughput,
    "drift": drift,
    "parts": parts,
    "memory": memory,
}


def _save(figure: Figure, path: Path) -> None:
    """As PNG with few colours: a third of the size, and nothing that an eye sees is lost."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(64).save(small, "png", optimize=True)
    write_file(path, small.getvalue())


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _log_ms(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _machine(report: Report) -> str:
    facts = report["host"]
    return f"{facts['processor'].split(' (')[0]}, {facts['cores']} cores"
