"""The commands ``restore-sdk info``, ``doctor`` and ``verify``: what this host has, lacks and computes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from restore_sdk.cli.common import Result, add_device, finish


def register(commands: Any) -> None:
    """Add the commands to the parser."""
    finish(commands.add_parser("info", help="show the model and the runtime that serve here"), info, model=True)
    finish(commands.add_parser("doctor", help="show what runs here, what does not, and how to get it"), doctor)
    command = commands.add_parser("verify", help="compare a runtime with the model's reference")
    command.add_argument("--min-psnr", type=float, metavar="DB", help="the gate in dB (default: that of the precision)")
    add_device(command)
    finish(command, verify, model=True)


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
    from restore_sdk.measure.verify import verify as run

    bundle = Bundle.load(options.bundle)
    found = run(bundle, options.runtime, min_psnr=options.min_psnr, device=options.device)
    images, gate, edges = found.drift["restored"].pictures, found.gates["restored"], found.gates["completed_edges"]
    report = {
        "passed": found.passed,
        "bundle": bundle.name,
        "runtime": found.runtime["runtime"],
        "device": found.runtime["device"],
        "images": images,
        "min_pooled_db": gate[0],
        "min_psnr_db": gate[1],
        **{name: drift.to_json() for name, drift in found.drift.items()},
    }
    lines = [f"{bundle.name} on {found.runtime['runtime']}: {images} golden images, all file hashes match"]
    lines += [f"{name:<16} {drift}" for name, drift in found.drift.items()]
    for_edges = f", {edges[0]:g} and {edges[1]:g} for edges" if edges != gate else ""
    lines.append(f"{'passed' if found.passed else 'FAILED'}: the gate is {gate[0]:g} and {gate[1]:g} dB{for_edges}")
    return report, lines, 0 if found.passed else 6
