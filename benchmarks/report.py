"""The report: everything measured on one host, kept as JSON, from which the pages and plots are made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import budgets, cases, drift, peers
from benchmarks.cases import Case
from benchmarks.figures import SECTIONS
from benchmarks.inputs import BATCHES, SIZES, Damaged, enlarged, portrait, reference_engine
from benchmarks.processes import MeasurementError
from benchmarks.subjects import REFERENCE, RUNTIMES, Stable
from benchmarks.turns import take_turns
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import RestoreError
from restore_sdk.measure import host
from restore_sdk.measure.bench import fast_folder
from restore_sdk.measure.contender import require_named, run_name
from restore_sdk.measure.fresh import fresh_process
from restore_sdk.runtime.cores import threads_alone

KIND, SCHEMA = "restore-sdk benchmarks", 1

Section = dict[str, Any]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Amount:
    """How much is measured: seconds a case, processes a figure, requests for the memory."""

    seconds: float
    processes: int
    requests: int


FULL, QUICK = Amount(4.0, 5, 5000), Amount(1.2, 3, 300)


class Bench:
    """What all sections share: subjects, engines on every runtime of this host, the right answers."""

    def __init__(self, bundle: Bundle, runtimes: Sequence[str], quick: bool, progress: Progress) -> None:
        self.bundle, self.progress, self.quick = bundle, progress, quick
        self.amount = QUICK if quick else FULL
        with ExitStack() as stack:
            self.stable = stack.enter_context(Stable(bundle))
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder())))
            self._reference = stack.enter_context(reference_engine(bundle))
            self.absent: list[dict[str, str]] = []
            if runtimes:  # asked for by name: each opens, or that is an error
                subjects = [self.stable.subject(key) for key in dict.fromkeys(runtimes)]
            else:
                subjects, self.absent = self.stable.here(RUNTIMES)
            self.keys = [subject.key for subject in subjects]
            self.right = self.answer(portrait())
            self._stack = stack.pop_all()  # only now: what fails above closes what is open

    def answer(self, damaged: Damaged) -> Any:
        """What the reference makes of it."""
        return self._reference.restore(damaged.photo, damaged.mask)

    def engine(self, key: str, **options: Any) -> tuple[str, RestoreEngine]:
        """What runs, and an engine on it that is closed at the end."""
        engine = self._stack.enter_context(RestoreEngine(self.bundle, runtime=key, **options))  # type: ignore[arg-type]
        require_named(key, engine.info())  # type: ignore[arg-type]
        return run_name(engine.info()), engine

    def turns(self, made: Sequence[Case]) -> Section:
        """The cases' figures."""
        return {"figures": take_turns(made, self.amount.seconds, self.progress)}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def measure(
    bundle: Bundle,
    *,
    sections: Sequence[str] = SECTIONS,
    runtimes: Sequence[str] = (),
    quick: bool = False,
    faces: Path | None = None,
    masks: Path | None = None,
    kept: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda report: None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Measure the sections.

    Args:
        runtimes: of the SDK; one that does not open is an error. None named: all that open on this host.
        faces, masks: also measure the drift over these folders.
        kept: an earlier report of this host and these versions, whose other sections are carried over.
        save: is given the report as it is after every section, so that an interrupted measurement keeps what it has.

    Returns:
        JSON types: ``kind``, ``schema``, ``host``, ``bundle``, ``absent`` (runtimes that are not measured, and why)
        and ``sections``, each with ``measured`` (when), ``load`` (of the machine, before), ``quick`` and its figures.
    """
    report: dict[str, Any] = {
        "kind": KIND,
        "schema": SCHEMA,
        "host": host.facts(),
        "bundle": _about(bundle),
        "absent": [],
        "sections": dict((kept or {}).get("sections", {})),
    }
    probes = drift.face_probes(faces, masks, None) if faces else []  # before the long work
    with Bench(bundle, runtimes, quick, progress) as bench:
        report["absent"] = bench.absent
        for name in SECTIONS:
            if name in sections:
                load = host.facts()["load"]
                found = drift_section(bench, probes) if name == "drift" else _MEASURES[name](bench)
                now = datetime.now(UTC).isoformat(timespec="seconds")
                report["sections"][name] = {"measured": now, "load": load, "quick": quick, **found}
                save(report)
    return report


def latency(bench: Bench) -> Section:
    """Every runtime, the reference and the peers: the two stages, whole requests, whole photographs."""
    made: list[Case] = []
    right = bench.stable.subject("pytorch").runner.infer(*portrait().batch(1))
    reference, absent = REFERENCE, []
    if bench.quick:  # compiling takes longer than all else
        reference = REFERENCE[:1]
        absent.append({"runtime": REFERENCE[1], "why": "--quick leaves it out", "hint": "measure without --quick"})
    for keys in (reference, peers.KEYS):
        found, others = bench.stable.here(keys)
        absent += others
        made += [cases.chain(subject, right if keys is reference else None) for subject in found]
    made += [cases.chain(bench.stable.subject(key), right) for key in bench.keys]
    for backend in peers.BACKENDS:
        try:
            made.append(cases.stack(backend, threads_alone()))
        except RestoreError as error:
            absent.append({"runtime": f"stack-{backend}", "why": error.message, "hint": error.hint})
    made += cases.opencv()
    for key in bench.keys:
        name, engine = bench.engine(key)
        made.append(cases.request(name, engine, portrait(), bench.right, key=key))
        folder = bench.folder / key
        folder.mkdir()
        made.append(cases.photo(name, engine, folder, portrait(), bench.right, key=key))
    return {**bench.turns(made), "absent": absent}


def parts(bench: Bench) -> Section:
    """What the host does around the stages."""
    return bench.turns(cases.host_parts(bench.folder))


def batch(bench: Bench) -> Section:
    """Batches, threads of one request, several callers, with whole requests; batches of the reference's stages."""
    reference = bench.stable.subject("pytorch")
    right = reference.runner.infer(*portrait().batch(1))
    made = [replace(cases.chain(reference, right, count), group="batch") for count in BATCHES]
    for key in bench.keys:
        name, engine = bench.engine(key)
        made += [cases.batch(name, engine, count, bench.right, key=key) for count in BATCHES]
        for count in (1, 2):
            made.append(cases.callers(*bench.engine(key, slots=count), count, bench.right, key=key))
            name, engine = bench.engine(key, threads=count)
            facts = {"key": key, "threads": count}
            made.append(cases.request(name, engine, portrait(), bench.right, group="threads", **facts))
    return bench.turns(made)


def size(bench: Bench) -> Section:
    """Photographs of every size with a hole of one size, and the largest with a hole that grows with it."""
    made: list[Case] = []
    width, height = SIZES[-1]
    large = enlarged(width, height, (width // 5, height // 4))
    answers = {each: bench.answer(enlarged(*each)) for each in SIZES}
    large_answer = bench.answer(large)
    for key in bench.keys:
        name, engine = bench.engine(key)
        facts = {"group": "size", "key": key}
        made += [cases.request(name, engine, enlarged(*each), answers[each], **facts) for each in SIZES]
        case = cases.request(name, engine, large, large_answer, **facts)
        made.append(replace(case, group="size, wide hole"))
    return bench.turns(made)


def start(bench: Bench) -> Section:
    """The budgets, and a fresh process on every runtime."""
    bench.progress("budgets")
    path, processes = bench.bundle.path, bench.amount.processes
    found: dict[str, Any] = {}
    for key in bench.keys:
        bench.progress(f"fresh processes on {key}")
        runs = [fresh_process(path, key, requests=1) for _ in range(processes)]  # type: ignore[arg-type]
        found[bench.stable.subject(key).name] = {
            name: sorted(run[name] for run in runs) for name in ("import_ms", "cold_ms", "warm_ms")
        }
    return {"budgets": [result.to_json() for result in budgets.measure(processes, path)], "processes": found}


def memory(bench: Bench) -> Section:
    """Memory over many requests, in a fresh process on every runtime."""
    found: dict[str, Any] = {}
    for key in bench.keys:
        bench.progress(f"{bench.amount.requests} requests in a fresh process on {key}")
        run = fresh_process(bench.bundle.path, key, requests=bench.amount.requests)  # type: ignore[arg-type]
        found[bench.stable.subject(key).name] = {
            name: run[name] for name in ("first_mb", "peak_mb", "grown_percent", "memory")
        }
    return {"requests": bench.amount.requests, "runs": found}


def drift_section(bench: Bench, probes: Sequence[Any]) -> Section:
    """Over the golden vectors, and over faces where there are some."""
    keys = bench.keys if bench.quick else ["pytorch-compiled", *bench.keys]
    subjects, _ = bench.stable.here(keys)
    pictures = {"golden": drift.golden_probes(bench.bundle)} | ({"faces": probes} if probes else {})
    return {
        name: drift.measure_drift(bench.stable, subjects, each, progress=bench.progress)
        for name, each in pictures.items()
    }


_VERSIONS = ("restore_sdk", "python", "packages")

_MEASURES: dict[str, Callable[[Bench], Section]] = {
    "latency": latency,
    "parts": parts,
    "batch": batch,
    "size": size,
    "start": start,
    "memory": memory,
}


def read_kept(path: Path, bundle: Bundle) -> dict[str, Any] | None:
    """An earlier report whose sections may stand beside new ones; ``None`` where there is none yet.

    Raises:
        MeasurementError: what is there is no report, or one of another machine, of other versions or another model.
    """
    clear = f"measure everything, or name another folder than {path.parent}"
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
        if report["kind"] != KIND or report["schema"] != SCHEMA:
            raise ValueError(f"kind {report['kind']}, schema {report['schema']}")
        there, here, sections = report["host"], host.facts(), dict(report["sections"])
        differ = [host.other_machine(here, there)] if host.other_machine(here, there) else []
        differ += [f"{key} {there[key]} there, {here[key]} here" for key in _VERSIONS if there[key] != here[key]]
        differ += [f"model {report['bundle']} there"] if report["bundle"] != _about(bundle) else []
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MeasurementError(f"{path} is no report whose other sections can be kept ({error}); {clear}") from error
    if differ:
        raise MeasurementError(f"{path} cannot be kept beside new figures: {'; '.join(differ)}; {clear}")
    return {**report, "sections": sections}


def _about(bundle: Bundle) -> dict[str, Any]:
    stages = bundle.manifest.stages
    return {
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "parameters": sum(stage.parameters for stage in stages),
        "macs": sum(stage.macs for stage in stages),
    }
