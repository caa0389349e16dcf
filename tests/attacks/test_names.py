"""Names that steer a terminal or a shell: shown escaped, quoted in commands to paste, and used as they are."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from restore_sdk._util.terminal import shown, word
from restore_sdk.bundle import Bundle
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import OutputError
from tests.attacks.sealed import ROOT
from tests.conftest import make_photo

#: A name as bytes: a title for the terminal, a colour, a line break, an undecodable byte, a command.
EVIL = b"a\x1b]0;title\x07\x1b[31m\n\xff$(touch pwned);`id`' b.png"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")


def command(folder: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "restore_sdk", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=folder, capture_output=True, check=False, env=environment)


def tame(output: bytes) -> bool:
    """Nothing but printable text in lines."""
    return all(line.isprintable() for line in output.decode().splitlines())


def test_a_photograph_of_such_a_name(tmp_path: Path, toy_bundle: Bundle) -> None:
    photo = cv2.imencode(".png", make_photo(40, 50))[1].tobytes()
    (tmp_path / os.fsdecode(EVIL)).write_bytes(photo)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    more = ("--mask", "m.png", "--bundle", str(toy_bundle.path), "-o")
    done = command(tmp_path, "restore", EVIL, *more, b"out " + EVIL)
    assert done.returncode == 0, done.stderr
    assert b"\\x1b]0;title\\x07" in done.stdout
    assert tame(done.stdout + done.stderr)
    assert sorted(map(os.fsencode, os.listdir(tmp_path))) == sorted([EVIL, b"m.png", b"out " + EVIL])


def test_errors_that_name_it(tmp_path: Path) -> None:
    for arguments in (("restore", EVIL, "--mask", EVIL, "-o", "o.png"), ("info", "--bundle", EVIL)):
        done = command(tmp_path, *arguments)
        assert done.returncode in (2, 5)
        assert b"\\x1b]0;title\\x07" in done.stderr
        assert tame(done.stderr)


def test_commands_to_paste(tmp_path: Path, writable_bundle: Path) -> None:
    """The shell takes the name as one word, whatever it holds."""
    evil = tmp_path / "x;touch pwned $(id)"
    assert shlex.split(word(evil)) == [str(evil)]
    evil.parent.mkdir(exist_ok=True)
    writable_bundle.rename(evil)
    told = shlex.split(EngineStore(evil / "store").build_command(Bundle.load(evil), "tensorrt"))
    assert told[-4:] == ["--bundle", str(evil), "--store", str(evil / "store")]
    (evil / "store").mkdir(mode=0o777)
    (evil / "store").chmod(0o777)
    with pytest.raises(Exception, match="others can write") as caught:
        EngineStore(evil / "store").entries()
    assert word(evil / "store") in str(caught.value)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    from restore_sdk._util.atomic import write_file

    with pytest.raises(OutputError) as caught:
        write_file(tmp_path / "a;b" / "c", b"")
    assert caught.value.hint == f"create it first: mkdir -p {word(tmp_path / 'a;b')}"


@pytest.mark.parametrize("text", ["", "é", "photo 1.png", "日本語.jpg"])
def test_ordinary_names_stay(text: str) -> None:
    assert shown(text) == text
