"""No name steers a terminal or a shell, and nothing that is read is run."""

from __future__ import annotations

import ast
import os
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore_sdk._util.disk import write_file
from restore_sdk._util.terminal import quote
from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import OutputError
from tests.child import ROOT, python
from tests.conftest import make_photo

#: A name as bytes: a title for the terminal, a colour, a line break, an undecodable byte, a command.
EVIL = b"a\x1b]0;title\x07\x1b[31m\n\xff$(touch pwned);`id`' b.png"
NAME = os.fsdecode(EVIL)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")


def tame(output: str) -> bool:
    """Nothing but printable text in lines."""
    return "\ufffd" not in output and all(line.isprintable() for line in output.splitlines())


def test_a_photograph_of_such_a_name(tmp_path: Path, toy_bundle: Bundle) -> None:
    photo = cv2.imencode(".png", make_photo(40, 50))[1].tobytes()
    (tmp_path / NAME).write_bytes(photo)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    more = ("--mask", "m.png", "--bundle", str(toy_bundle.path), "-o")
    done = python("-m", "restore_sdk", "restore", NAME, *more, f"out {NAME}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"\x1b]0;title\x07" in done.stdout
    assert tame(done.stdout + done.stderr)
    assert sorted(map(os.fsencode, os.listdir(tmp_path))) == sorted([EVIL, b"m.png", b"out " + EVIL])


def test_commands_to_paste(tmp_path: Path, writable_bundle: Path) -> None:
    """The shell takes the name as one word, whatever it holds."""
    evil = tmp_path / "x;touch pwned $(id)"
    assert shlex.split(quote(evil)) == [str(evil)]
    evil.parent.mkdir(exist_ok=True)
    writable_bundle.rename(evil)
    told = shlex.split(EngineStore(evil / "store").build_command(Bundle.load(evil), "tensorrt"))
    assert told[-4:] == ["--bundle", str(evil), "--store", str(evil / "store")]
    with pytest.raises(OutputError) as missing:
        write_file(tmp_path / "a;b" / "c", b"")
    assert missing.value.hint == f"create it first: mkdir -p {quote(tmp_path / 'a;b')}"


@pytest.mark.parametrize("room", ["restore_sdk", "training", "export", "engines", "benchmarks", "examples", "scripts"])
def test_no_pickle_is_loaded(room: str) -> None:
    """numpy refuses pickled arrays unless it is told otherwise; torch's loader is used for plain tensors alone."""
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        calls = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        loads = [call for call in calls if call.startswith("torch.load(") and "weights_only=True" not in call]
        assert not loads + [call for call in calls if "allow_pickle=True" in call], path
