"""The commands ``restore-sdk info``, ``doctor``, ``verify`` and ``bench``: what this host has, lacks and computes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from restore_sdk.cli.common import Result, add_bundle, add_device, finish, progress_line
from restore_sdk.runtime import RUNTIMES


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    finish(commands.add_parser("info", help="show the model and the runtime that serve here"), info, model=True)
    finish(commands.add_parser("doctor", help="show what runs here, what does not, and how to get it"), doctor)
    command = commands.add_parser("verify", help="compare a runtime with the model's reference")
    command.add_argument("--min-psnr", type=float, metavar="DB", help="the gate in dB (default: that of the precision)")
    add_device(command)
    finish(command, verify, model=True)
    command = commands.add_parser(
        "bench",
        help="measure latency, throughput and drift on this host",
        description="Measures every runtime that opens on this host, or those named; they take turns.",
    )
    command.add_argument("--runtime", choices=RUNTIMES, action="append", default=[], help="repeatable (default: all)")
    command.add_argument("--requests", type=int, default=200, metavar="N", help="requests that count (default 200)")
    command.add_argument("--batch", type=int, default=1, metavar="N", help="images a request (default 1)")
    command.add_argument("--slots", type=int, default=1, metavar="N", help="how many compute at a time (default 1)")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads a request (default: the usable cores)")
    add_device(command)
    add_bundle(command)
    finish(command, bench)


def info(options: argparse.Namespace) -> Result:
    """``restore-sdk info``: the engine that this host would use, and the model in it."""
    from restore_sdk.bundle import SHIPPED, Bundle
    from restore_sdk.engine import RestoreEngine

    bundle = Bundle.load(options.bundle)
    others = [name for name, folder in SHIPPED.items() if name != bundle.address and folder.is_dir()]
    with RestoreEngine(bundle, runtime=options.runtime) as engine:
        facts = engine.info()
    facts |= {"training": dict(bundle.manifest.training), "quality": dict(bundle.manifest.quality)}
    model = facts["bundle"]
    threads = f"{facts['threads']} threads, " if "threads" in facts else ""
    lines = [
        f"restore-sdk {facts['version']}",
        f"model      {model['name']} {model['version']}, {model['parameters'] / 1e6:.2f} M parameters, "
        f"{model['macs'] / 1e9:.2f} GMAC, {model['size']} x {model['size']} px",
        f"damage     {'found by a stage of its own' if facts['finds_damage'] else 'not found'}",
        f"faces      {'found and framed' if facts['finds_faces'] else 'not found'}",
        f"bundle     {model['path']}",
        *(f"another    --bundle {name}" for name in others),
        f"runtime    {facts['runtime']} {facts['runtime_version']} ({facts['reason']})",
        f"device     {facts['device']}, {facts['precision']}, {threads}{facts['slots']} slot(s)",
    ]
    return facts, lines, 0


def doctor(options: argparse.Namespace) -> Result:
    """``restore-sdk doctor``: what runs here, what does not, and how to get it."""
    from restore_sdk.measure.doctor import examine

    findings = examine()
    works = all(finding.status != "broken" for finding in findings if finding.required)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8} {finding.name:<16} {finding.detail}")
        if finding.hint:
            lines.append(f"{'':<8} {'':<16} -> {finding.hint}")
    lines.append("restore-sdk works on this host" if works else "restore-sdk does not work on this host yet")
    report = {"works": works, "findings": [asdict(finding) for finding in findings]}
    return report, lines, 0 if works else 3


def verify(options: argparse.Namespace) -> Result:
    """``restore-sdk verify``: does this host compute what the reference computed."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.measure import bench as measured

    bundle = Bundle.load(options.bundle)
    result = measured.verify(bundle, options.runtime, min_psnr=options.min_psnr, device=options.device)
    images, gate, edges = result.drift["restored"].pictures, result.gates["restored"], result.gates["completed_edges"]
    report = {
        "passed": result.passed,
        "bundle": bundle.name,
        "runtime": result.runtime["runtime"],
        "device": result.runtime["device"],
        "images": images,
        "min_pooled_db": gate[0],
        "min_psnr_db": gate[1],
        **{name: drift.to_json() for name, drift in result.drift.items()},
    }
    lines = [f"{bundle.name} on {result.runtime['runtime']}: {images} golden images, all file hashes match"]
    lines += [f"{name:<16} {drift}" for name, drift in result.drift.items()]
    for_edges = f", {edges[0]:g} and {edges[1]:g} for edges" if edges != gate else ""
    lines.append(f"{'passed' if result.passed else 'FAILED'}: the gate is {gate[0]:g} and {gate[1]:g} dB{for_edges}")
    return report, lines, 0 if result.passed else 6


def bench(options: argparse.Namespace) -> Result:
    """Measure every runtime."""
    from restore_sdk.bundle import Bundle
    from restore_sdk.measure.bench import measure

    with progress_line() as show:
        report = measure(
            Bundle.load(options.bundle),
            options.runtime,
            requests=options.requests,
            batch=options.batch,
            slots=options.slots,
            threads=options.threads,
            device=options.device,
            progress=show,
        )
    return report, _describe(report), 0


def _describe(report: dict[str, Any]) -> list[str]:
    """What was measured, as lines for people."""
    facts = report["host"]
    lines = [
        f"{report['bundle']}, {report['requests']} requests of {report['batch']} image(s), "
        f"restore-sdk {facts['restore_sdk']}, Python {facts['python']}",
        f"{facts['processor']}, {facts['cores']} core(s), {facts['system']}, load {facts['load']}",
    ]
    for run in report["runs"]:
        facts = run["runtime"]
        lines += ["", f"{run['name']} ({facts['runtime_version']}, {facts['device']}; {run['reason']})"]
        lines.append(f"  {'open':<15} {run['open_ms']:.0f} ms")
        for name, figure in run["figures"].items():
            times = "  ".join(f"{which} {figure['ms'][which]:8.3f}" for which in ("p50", "p95", "p99"))
            parts = "".join(f", {part} {ms['p50']:.2f}" for part, ms in figure["parts"].items())
            lines.append(f"  {name:<15} {times} ms, {figure['images_per_second']:.1f} images/s{parts}")
        for name, drift in run["drift"].items():
            text = "equal" if drift["worst_db"] is None else f"{drift['pooled_db']} dB, worst {drift['worst_db']} dB"
            lines.append(f"  {name:<15} {text}")
    return lines + [f"not here: {absent['runtime']}: {absent['why']}" for absent in report["absent"]]
