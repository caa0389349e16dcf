"""Hints name the package by where it was installed from: its bare name may be somebody else's on an index."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from restore_sdk._util import extras

ROOT = Path(__file__).resolve().parents[2]


class Installed:
    """A distribution as ``importlib.metadata`` gives it, with what pip wrote of its origin."""

    def __init__(self, origin: str | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.origin


def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: object) -> str:
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path / "site-packages")
    text = origin if origin is None or isinstance(origin, str) else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed(text))
    return extras.install("serve")


def test_a_project_beside_the_package_is_somebody_else_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``pip install --target .`` in a project of one's own."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    assert named(monkeypatch, tmp_path, None) == "pip install 'restore-sdk[serve]'"


def test_a_checkout_is_named_by_its_folder() -> None:
    assert extras.install("serve") == f"pip install '{ROOT}[serve]'"


def test_from_a_folder_or_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "it's a folder" / "restore_sdk-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    found = named(monkeypatch, tmp_path, {"url": wheel.as_uri(), "archive_info": {}})
    assert "%20" not in found
    assert found.endswith(".whl[serve]'")


def test_from_an_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert named(monkeypatch, tmp_path, None) == "pip install 'restore-sdk[serve]'"


@pytest.mark.parametrize(
    "origin",
    [{"url": "file:///gone/away"}, {"url": "https://example.org/restore.git", "vcs_info": {}}, {}, [], "{", {"url": 7}],
)
def test_from_where_nothing_is_any_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: object) -> None:
    assert named(monkeypatch, tmp_path, origin) == "pip install '/path/to/restore-sdk[serve]'"


def test_not_installed_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)

    def none(_name: str) -> None:
        raise metadata.PackageNotFoundError("restore-sdk")

    monkeypatch.setattr(metadata, "distribution", none)
    assert extras.install("rtx") == "pip install '/path/to/restore-sdk[rtx]'"
