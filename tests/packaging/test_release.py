"""A release: the same bytes whoever makes it, with checksums and a bill of materials; and the locks behind it."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import lock, release
from tests import fetched
from tests.child import ROOT, python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, set[str]]:
    """Versions of each package in a lock; more than one where they differ by Python's version."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (lock.FOLDER / name).read_text(), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(package), set()).add(version)
    return found


def declared(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, extras of its own taken apart."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            found += declared(*requirement.extras) if requirement.name == "restore-sdk" else [requirement]
    return found


@pytest.mark.parametrize("name", lock.LOCKS)
def test_a_lock_holds_all_that_is_declared_by_hash(name: str) -> None:
    have = locked(name)
    for requirement in declared(*lock.LOCKS[name]):
        if lock.LEFT_OUT.match(requirement.name):
            continue
        versions = have.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement} is in no lock: run python scripts/lock.py"
        assert all(Version(version) in requirement.specifier for version in versions), f"{requirement}: {versions}"
    entries = re.split(r"^(?=[A-Za-z0-9])", (lock.FOLDER / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) >= len(have) > 5
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


def test_what_tests_fetch_is_locked_by_hash() -> None:
    entries = fetched.entries(fetched.LOCK.read_text(encoding="utf-8"))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    for requirement in (*fetched.ALONE, *fetched.WITH_REQUIREMENTS):
        with fetched.locked(requirement) as arguments:
            assert "--require-hashes" in arguments
            assert fetched.entries(Path(arguments[-1]).read_text(encoding="utf-8"))[0].startswith(f"{requirement} ")
    assert len(fetched.needs(fetched.PYCUDA)) >= 3
    with pytest.raises(LookupError, match=r"run python scripts/lock\.py"), fetched.locked("unknown==1.0"):
        pass


def test_every_dependency_has_bounds() -> None:
    assert [str(each) for each in declared(*PROJECT["optional-dependencies"]) if not each.specifier] == []


def test_only_what_the_host_chooses_is_left_out_of_a_lock() -> None:
    names = ["torch", "torchvision", "nvidia-cublas", "cuda-toolkit", "numpy", "tensorrt-rtx-cu13", "triton"]
    names.append("tritonclient")
    text = "# head\n" + "".join(f"{name}==1.0 \\\n    --hash=sha256:00\n    # via it\n" for name in names)
    kept = re.findall(r"^(\S+)==", lock.without(text, lock.LEFT_OUT), re.MULTILINE)
    assert kept == ["torchvision", "numpy", "tensorrt-rtx-cu13", "tritonclient"]


@pytest.mark.slow
def test_a_release_is_the_same_bytes_whoever_makes_it() -> None:
    """``make`` builds twice and compares; what it gives is whole and says the truth about itself."""
    files = release.make(ROOT)
    version = PROJECT["version"]
    assert sorted(files) == [
        "SHA256SUMS",
        f"restore-sdk-{version}.cdx.json",
        f"restore_sdk-{version}-py3-none-any.whl",
        f"restore_sdk-{version}.tar.gz",
    ]
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"}
    bill = json.loads(files[f"restore-sdk-{version}.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == ("restore-sdk", version)
    listed: dict[str, set[str]] = {}
    for component in bill["components"]:
        listed.setdefault(canonicalize_name(component["name"]), set()).add(component["version"])
    assert listed == locked("runtime.lock")
    assert all(component["externalReferences"][0]["hashes"] for component in bill["components"])


def test_a_build_that_differs_is_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = iter([{"a.whl": b"1", "a.tar.gz": b"same"}, {"a.whl": b"2", "a.tar.gz": b"same"}])
    monkeypatch.setattr(release, "build", lambda *_: next(builds))
    with pytest.raises(release.ReleaseError, match=r"differ: a\.whl"):
        release.make(ROOT)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = python(ROOT / "scripts" / "release.py", "--out", tmp_path)
    assert done.returncode == 2
    assert "holds something already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
