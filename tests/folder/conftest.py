"""A folder with photographs and masks, and the command run on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.folder.jobs import LOG_NAME
from tests.conftest import make_photo

HEIGHT, WIDTH = 90, 120


class Folder:
    """Photographs in ``source``, masks in ``masks``, results in ``target``."""

    def __init__(self, place: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self.bundle, self._capsys = place, bundle, capsys
        self.source, self.masks, self.target = place / "in", place / "masks", place / "out"
        self.source.mkdir()
        self.masks.mkdir()
        self.hole = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.hole[30:50, 40:90] = 255

    def photo(self, name: str, seed: int = 0) -> Path:
        """A photograph in the source."""
        return self.write(self.source / name, cv2.imencode(Path(name).suffix, make_photo(HEIGHT, WIDTH, seed))[1])

    def mask(self, name: str) -> Path:
        """A mask in the masks."""
        return self.write(self.masks / name, cv2.imencode(Path(name).suffix, self.hole)[1])

    def write(self, path: Path, data: Any) -> Path:
        """Any bytes at any place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(data))
        return path

    def run(self, *more: object, masks: Path | None = None, out: Path | None = None) -> tuple[int, str, str]:
        """The command: exit code and both streams."""
        arguments = ["restore", self.source, "--masks", masks or self.masks, "-o", out or self.target]
        code = cli.main([str(word) for word in (*arguments, "--bundle", self.bundle, *more)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *more: object, **places: Path) -> dict[str, Any]:
        """The command's report."""
        code, out, _ = self.run("--json", *more, **places)
        return {"code": code, **json.loads(out)}

    def results(self) -> list[str]:
        """Names of all results."""
        return sorted(
            path.relative_to(self.target).as_posix()
            for path in self.target.rglob("*")
            if path.is_file() and ".restore-sdk" not in path.parts and path.name != LOG_NAME
        )

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in (self.target / LOG_NAME).read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, toy_bundle.path, capsys)
