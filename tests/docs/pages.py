"""The Markdown pages of the checkout, and what they promise: code blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np

from tests.child import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_COMMANDS = ("restore-sdk ", "python -m training", "python -m export", "python -m benchmarks", "python -m engines")


def name(page: Path) -> str:
    """The page's path in the checkout, for messages."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return [body for found, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def links(page: Path) -> list[str]:
    """The targets of links and pictures."""
    return _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))


def block_commands(page: Path) -> list[list[str]]:
    """The project's own commands among the lines of shell blocks, as argument lists."""
    lines = [line for body in blocks(page, "sh") for line in body.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(_COMMANDS)]


def commands(page: Path) -> list[list[str]]:
    """The project's own commands, in blocks and inline, as argument lists."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    inline = [shlex.split(code) for code in _INLINE.findall(text) if code.startswith(_COMMANDS)]
    return block_commands(page) + inline


def assert_restored(path: Path, mask: Path = ROOT / "examples" / "portrait_mask.png") -> None:
    """The file is the example with masked pixels, and nothing else, repainted."""
    restored, damaged = (cv2.imread(str(each)) for each in (path, ROOT / "examples" / "portrait_damaged.png"))
    masked = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) > 127
    assert restored.shape == damaged.shape
    assert np.array_equal(restored[~masked], damaged[~masked])
    assert not np.array_equal(restored, damaged)
