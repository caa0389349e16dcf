"""Every page: links lead somewhere, commands exist with the options shown, versions agree."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import restore_sdk
from tests.docs.pages import PAGES, ROOT, commands, links, name

# docs/lab is a record of what was done, with the commands of its time.
COMMANDS = [(page, words) for page in PAGES if page.parent.name != "lab" for words in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page: Path) -> None:
    for link in links(page):
        if not re.match(r"https?:|mailto:", link):
            target = link.partition("#")[0]
            assert (page.parent / target).exists(), f"{name(page)} links to {link}"


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{name(page)}: {' '.join(words)[:50]}" for page, words in COMMANDS]
)
def test_commands_exist(
    page: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subcommand's own help names every option that the page shows."""
    module, words = ("restore_sdk", words[1:]) if words[0] == "restore-sdk" else (words[2], words[3:])
    subcommand = [word for word in words[:1] if not word.startswith("-")]
    monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)  # another test imported it
    monkeypatch.setattr(sys, "argv", [module, *subcommand, "--help"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    shown = capsys.readouterr()
    assert exit_.value.code == 0, shown.err
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options <= set(re.findall(r"--?[a-zA-Z][\w-]*", shown.out)), f"{name(page)}: {' '.join(words)}"


def test_pages_show_commands() -> None:
    assert {name(page) for page, _ in COMMANDS} >= {"README.md", "CONTRIBUTING.md", "docs/training.md"}


def test_changelog_has_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == restore_sdk.__version__
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", restore_sdk.__version__]


@pytest.mark.parametrize("script", ["demo.sh", "test.sh", ".ci/run"])
def test_commands_of_the_checkout_can_be_started(script: str) -> None:
    path = ROOT / script
    shell = "bash" if script == ".ci/run" else "sh"
    assert os.access(path, os.X_OK), f"{script} is not executable"
    subprocess.run([shell, "-n", path], check=True)
