"""What the README shows, and the page about files, is run here, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from tests.docs.pages import ROOT, assert_restored, block_commands, blocks

README = ROOT / "README.md"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the examples in it, as a reader has, but where writing does no harm."""
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [*blocks(README, "python"), *blocks(ROOT / "docs" / "files.md", "python")],
    ids=lambda code: code.splitlines()[1][:40],
)
def test_python_blocks_run(code: str, checkout: Path) -> None:
    exec(compile(code, "page", "exec"), {"__name__": "__main__"})
    if "imwrite" in code or "write_file" in code:
        assert_restored(checkout / "restored.png")


@pytest.mark.parametrize(
    "command", [words for words in block_commands(README) if words[0] == "restore-sdk"], ids=lambda words: words[1]
)
def test_commands_run(command: list[str], checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--requests", "2"] if command[1] == "bench" else []
    assert cli.main([*command[1:], *quick]) == 0, capsys.readouterr().err
    if command[1] == "restore":
        output = checkout / command[command.index("-o") + 1]
        if "auto" in command:
            assert_restored(output, output.with_name(f"{output.stem}_mask.png"))
        else:
            assert_restored(output / "portrait_damaged.png" if output.is_dir() else output)


def test_there_is_something_to_run() -> None:
    assert blocks(README, "python")
    assert {words[1] for words in block_commands(README)} >= {"restore", "info", "doctor", "verify"}


def test_exit_codes_are_those_of_the_command() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)}
    documented = {int(code) for code in re.findall(r"\b(\d+) ", str(cli._parser().epilog))}
    assert table == documented
    assert table > {code for _, code in cli._EXIT_CODES}


def test_model_size_is_that_of_the_bundle() -> None:
    """A model of another size was released: say so in the README and the model card."""
    stages = Bundle.load().stages
    millions = sum(stage.parameters for stage in stages) / 1e6
    billions = sum(stage.macs for stage in stages) / 1e9
    readme = " ".join(README.read_text(encoding="utf-8").split())
    assert f"{millions:.1f} million parameters" in readme
    assert f"{billions:.1f} billion multiply-accumulates" in readme
    card = " ".join((ROOT / "docs" / "model-card.md").read_text(encoding="utf-8").split())
    for stage in stages:
        assert f"({stage.parameters / 1e6:.2f} M parameters, {stage.macs / 1e9:.2f} GMAC)" in card
