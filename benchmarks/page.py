"""The report as Markdown, and the table that the README shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.figures import EDGECONNECT, STACK, Report, figures, peer, ratio, section, worst_drift
from benchmarks.plots import latency_rows, photo_parts
from benchmarks.targets import targets


def page(report: Report, pictures: Sequence[str]) -> str:
    """The whole report; ``pictures`` are the plots beside it."""

    def picture(name: str, text: str) -> list[str]:
        return [f"![{text}]({name}.png)", ""] if f"{name}.png" in pictures else []

    lines = [
        "# Benchmarks of Restore SDK",
        "",
        *_facts(report),
        "",
        "Written by `python -m benchmarks report`. Times do not carry over to another machine; ratios within one",
        "report do, roughly. A spread is the lowest and highest median of five rounds, in which all that is compared",
        "took turns; a ratio is the median of the five rounds' ratios.",
        "",
        "## Targets",
        "",
        *_table(
            ["", "measured", "limit", ""],
            [
                [
                    each.name,
                    "" if each.value is None else f"{each.value:.4g} {each.unit}".strip(),
                    f"{'at least' if each.least else 'at most'} {each.limit:g} {each.unit}".strip(),
                    each.verdict,
                ]
                for each in targets(report)
            ],
        ),
        "",
        "## Latency, one 256 x 256 image",
        "",
        *picture("latency", "Latency of every runtime and the peers, with spread"),
        *_latency(report),
        "",
        "Stages of the SDK's runtimes and the reference:",
        "",
        *_stages(report),
        "",
        "## Where the time of a photograph goes",
        "",
        *picture("parts", "Share of each part in a photograph from file to file"),
        *_parts(report),
        "",
        "## Batches, threads, callers",
        "",
        *picture("throughput", "Throughput by batch"),
        *_batches(report),
        "",
        "## Photographs of every size",
        "",
        *_sizes(report),
        "",
        "## Start",
        "",
        *_start(report),
        "",
        "## Memory",
        "",
        *picture("memory", "Memory over requests"),
        *_memory(report),
        "",
        "## Drift",
        "",
        *picture("drift", "Drift against latency"),
        *_drift(report),
        "",
        "## Not measured here",
        "",
        *_absent(report),
        "",
    ]
    return "\n".join(lines)


def readme_table(report: Report) -> str:
    """The SDK's runtimes, the reference and the methods beside it, fastest first, with the machine under it."""
    edgeconnect = peer(report, EDGECONNECT)
    rows = []
    for label, _, each in latency_rows(report):
        if each["facts"]["key"].startswith("stack-"):
            continue  # a yardstick for the machine, no method
        faster = ratio(edgeconnect, each)
        ms, rounds = each["ms"]["p50"], each["rounds"]
        worst = worst_drift(report, each["what"])
        rows.append(
            [
                f"**{label}**" if label.startswith("Restore SDK") else label,
                f"{_ms(ms)} ({_ms(min(rounds))} to {_ms(max(rounds))})",
                f"{faster:.1f}" if faster else "",
                f"{worst:.0f} dB" if worst is not None else "",
            ]
        )
    head = ["one 256 x 256 image", "ms, median (spread)", "times EdgeConnect's speed", "drift, worst picture"]
    facts = report["host"]
    versions = ", ".join(f"{name} {facts['packages'][name]}" for name in _SHOWN if name in facts["packages"])
    return "\n".join(
        [
            *_table(head, rows),
            "",
            f"*{facts['processor']}, {facts['cores']} cores, {facts['system']}; Python {facts['python']}, {versions}.",
            "EdgeConnect's speed is that of its two stages on ONNX Runtime, written from the published layer sizes,",
            "with random weights. Drift is the distance from the PyTorch reference in float32.*",
        ]
    )


_SHOWN = ("onnxruntime", "openvino", "torch", "opencv-python-headless", "tensorrt")


def _absent(report: Report) -> list[str]:
    found = [*report["absent"], *(each for part in report["sections"].values() for each in part.get("absent", ()))]
    return list(dict.fromkeys(f"- {each['runtime']}: {each['why']}" for each in found)) or ["Nothing was left out."]


def _facts(report: Report) -> list[str]:
    facts, bundle = report["host"], report["bundle"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    rows = [
        ["machine", f"{facts['processor']}, {facts['cores']} usable cores, {facts['memory_gb']} GB, {facts['system']}"],
        ["instructions", ", ".join(facts["simd"]) or "not known"],
        ["system", facts["platform"]],
        ["versions", f"restore-sdk {facts['restore_sdk']}, Python {facts['python']}, {packages}"],
        [
            "model",
            f"{bundle['name']}: {bundle['parameters'] / 1e6:.2f} M parameters, {bundle['macs'] / 1e9:.2f} GMAC",
        ],
    ]
    for name, each in report["sections"].items():
        form = ", --quick" if each["quick"] else ""
        rows.append([name, f"measured {each['measured']}, load of the machine before {each['load']}{form}"])
    return _table(["", ""], rows)


#: Of fewer calls than these, the percentile would be one of the slowest calls, whichever it is.
_TAILS = (("p95", 20), ("p99", 100))


def _latency(report: Report) -> list[str]:
    edgeconnect, stack = peer(report, EDGECONNECT), peer(report, STACK)
    rows = []
    for label, _, each in latency_rows(report):
        ms, ratios = each["ms"], (ratio(each, edgeconnect), ratio(each, stack))
        rows.append(
            [
                label,
                _ms(ms["p50"]),
                *(_ms(ms[which]) if each["calls"] >= least else "" for which, least in _TAILS),
                f"{_ms(min(each['rounds']))} to {_ms(max(each['rounds']))}",
                *("" if value is None else f"{value:.3g}" for value in ratios),
            ]
        )
    head = ["", "p50, ms", "p95", "p99", "spread", "of EdgeConnect on ONNX Runtime", "of the stack on ONNX Runtime"]
    return _table(head, rows)


def _stages(report: Report) -> list[str]:
    found = [each for each in figures(report, "latency", "chain") if not each["facts"]["key"].startswith("edgeconnect")]
    rows = [
        [each["what"], _ms(each["parts"]["edge"]), _ms(each["parts"]["repair"]), _ms(each["ms"]["p50"])]
        for each in sorted(found, key=lambda each: each["ms"]["p50"])
    ]
    return _table(["", "edge stage, ms", "repair stage", "both"], rows)


def _parts(report: Report) -> list[str]:
    rows = []
    for what, found in photo_parts(report):
        rows.append([what, *(f"{ms:.2f}" for ms in found.values()), f"{sum(found.values()):.2f}"])
    head = ["ms", *(photo_parts(report)[0][1] if rows else []), "sum"]
    alone = [[each["what"], _ms(each["ms"]["p50"])] for each in figures(report, "parts", "host part")]
    return [*_table(head, rows), "", "The host's parts alone:", "", *_table(["", "p50, ms"], alone)]


def _batches(report: Report) -> list[str]:
    found = figures(report, "batch", "batch")
    counts = sorted({each["facts"]["batch"] for each in found})
    names = dict.fromkeys(each["what"] for each in found)
    rows = []
    for what in names:
        by = {each["facts"]["batch"]: each["images_per_second"] for each in found if each["what"] == what}
        more = []
        for group, fact in (("callers", "callers"), ("threads", "threads")):
            rates = {e["facts"][fact]: e for e in figures(report, "batch", group) if e["what"] == what}
            more += [_rate(rates[n]["images_per_second"]) if n in rates else "" for n in (1, 2)]
        rows.append([what, *(_rate(by.get(count)) for count in counts), *more])
    head = [
        "images a second",
        *(f"batch {count}" for count in counts),
        "1 caller",
        "2 callers",
        "1 thread",
        "2 threads",
    ]
    return _table(head, rows)


def _sizes(report: Report) -> list[str]:
    found = [*figures(report, "size", "size"), *figures(report, "size", "size, wide hole")]
    names = list(dict.fromkeys(each["what"] for each in found))
    places = list(dict.fromkeys((each["group"], each["facts"]["width"], each["facts"]["height"]) for each in found))
    rows = []
    for group, width, height in places:
        row = [f"{width} x {height}{', the hole grown with it' if group != 'size' else ''}"]
        for what in names:
            each = next(
                each for each in found if (each["group"], each["what"], each["facts"]["width"]) == (group, what, width)
            )
            row.append(_ms(each["ms"]["p50"]))
        rows.append(row)
    return _table(["a request, ms; the hole is 120 x 100 px", *names], rows)


def _start(report: Report) -> list[str]:
    found = section(report, "start")
    rows = [
        [
            each["name"],
            f"{each['median']:.3g} {each['unit']}",
            f"{min(each['values']):.3g} to {max(each['values']):.3g}",
        ]
        for each in found.get("budgets", ())
    ]
    fresh = [
        [what, *(f"{_middle(run[name]):.0f} ({run[name][0]:.0f} to {run[name][-1]:.0f})" for name in _STARTS)]
        for what, run in found.get("processes", {}).items()
    ]
    return [
        *_table(["", "median", "lowest to highest"], rows),
        "",
        *_table(["a fresh process, ms", "import", "start to first image", "a second engine's first image"], fresh),
    ]


_STARTS = ("import_ms", "cold_ms", "warm_ms")


def _memory(report: Report) -> list[str]:
    found = section(report, "memory")
    rows = [
        [
            what,
            *("" if run[name] is None else f"{run[name]:.0f} MB" for name in ("first_mb", "peak_mb")),
            "too few requests to say" if run["grown_percent"] is None else f"{run['grown_percent']:+.2f} %",
        ]
        for what, run in found.get("runs", {}).items()
    ]
    return _table([f"{found.get('requests', 0)} requests", "after the first", "peak", "changed by"], rows)


def _drift(report: Report) -> list[str]:
    lines = []
    for name, each in section(report, "drift").items():
        if not isinstance(each, dict):
            continue
        low, high = each["hole"]
        lines += [
            f"{each['pictures']} pictures ({name}), {low:.1%} to {high:.1%} missing; the reference is "
            f"{each['reference_db']} dB from the undamaged pictures. 107 dB stands for equal.",
            "",
            *_table(
                ["", "mean", "worst", "PSNR against the truth", "worst", "worst picture"],
                [
                    [
                        what,
                        f"{run['restored']['pooled_db'] or 107:.1f} dB",
                        f"{run['restored']['worst_db'] or 107:.1f} dB",
                        f"{run['truth_db']['mean']:+.3f} dB",
                        f"{run['truth_db']['worst']:+.3f} dB",
                        run["restored"]["worst"],
                    ]
                    for what, run in each["drift"].items()
                ],
            ),
            "",
        ]
    return lines


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ["Not measured."]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body]


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
