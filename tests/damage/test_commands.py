"""``detect``, and ``restore --mask auto`` for one photograph and for a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cli.main import main
from tests.damage.conftest import scratched, write

BOX = (40, 30, 46, 150)


def run(capsys: pytest.CaptureFixture[str], bundle: Bundle, *words: object, code: int = 0) -> dict[str, Any]:
    assert main([str(word) for word in (*words, "--bundle", bundle.path, "--json")]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def read(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_detect_writes_mask_and_overlay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeing_bundle: Bundle
) -> None:
    photo = write(tmp_path / "photo.png", scratched(100, 200, BOX))
    mask, overlay = tmp_path / "mask.png", tmp_path / "overlay.png"
    told = run(capsys, seeing_bundle, "detect", photo, "-o", mask, "--overlay", overlay)
    found = read(mask)
    assert found.shape == (100, 200)
    assert (found[40:46, 30:150] == 255).all()
    assert told["share"] == pytest.approx(np.mean(found > 0), abs=1e-6)
    seen, red = read(overlay), read(overlay)[43, 90]
    assert red[2] > 200 > red[0]
    assert np.array_equal(seen[found == 0], read(photo)[found == 0])
    write(photo, scratched(100, 200))
    refused = run(capsys, seeing_bundle, "detect", photo, "-o", mask, code=2)
    assert "may hold corrections" in refused["error"]["message"]
    assert np.array_equal(read(mask), found)
    assert run(capsys, seeing_bundle, "detect", photo, "-o", mask, "--overwrite")["share"] == 0
    assert not read(mask).any()


def test_detect_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toy_bundle: Bundle, seeing_bundle: Bundle
) -> None:
    photo, mask = write(tmp_path / "photo.png", scratched(50, 50)), tmp_path / "mask.png"
    told = run(capsys, toy_bundle, "detect", photo, "-o", mask, code=2)
    assert "no stage that finds damage" in told["error"]["message"]
    assert (
        "two files"
        in run(capsys, seeing_bundle, "detect", photo, "-o", mask, "--overlay", mask, code=2)["error"]["hint"]
    )
    assert "is the input" in run(capsys, seeing_bundle, "detect", photo, "-o", photo, code=2)["error"]["message"]
    assert not mask.exists()


def test_restoring_keeps_the_proposal_and_takes_the_corrected_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeing_bundle: Bundle
) -> None:
    photo, out = write(tmp_path / "photo.png", scratched(100, 200, BOX)), tmp_path / "out.png"
    told = run(capsys, seeing_bundle, "restore", photo, "--mask", "auto", "-o", out)
    mask = tmp_path / "out_mask.png"
    assert told["mask"] == str(mask)
    assert 0.03 < told["masked"] < 0.06
    assert "was proposed" in told["notes"][0]
    assert read(out)[43, 90, 2] != 255
    other = np.zeros((100, 200), np.uint8)
    other[80:90, 10:20] = 255
    cv2.imwrite(str(mask), other)
    told = run(capsys, seeing_bundle, "restore", photo, "--mask", "auto", "-o", out)
    assert "was there and was taken" in told["notes"][0]
    assert np.array_equal(read(mask), other)
    assert np.array_equal(read(out)[43, 90], read(photo)[43, 90])


def test_a_whole_photo_and_one_that_is_mostly_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeing_bundle: Bundle, toy_bundle: Bundle
) -> None:
    photo, out = write(tmp_path / "photo.png", scratched(100, 200)), tmp_path / "out.png"
    auto = "restore", photo, "--mask", "auto", "-o", out
    assert "no damage was found" in run(capsys, seeing_bundle, *auto, code=2)["error"]["message"]
    write(photo, scratched(100, 200, (0, 0, 60, 200)))
    for _ in range(2):  # the second time the proposal is there, and nobody has agreed to it
        told = run(capsys, seeing_bundle, *auto, code=2)
        assert "more than half" in told["error"]["message"]
        assert "--force" in told["error"]["hint"]
        assert not out.exists()
    assert run(capsys, seeing_bundle, *auto, "--force")["masked"] > 0.6
    assert run(capsys, toy_bundle, "restore", photo, "--mask", "auto", "-o", tmp_path / "b.png", code=2)["ok"] is False
    assert (
        "is for --mask auto"
        in run(capsys, toy_bundle, "restore", photo, "--mask-alpha", "--force", "-o", out, code=2)["error"]["message"]
    )


def test_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeing_bundle: Bundle, toy_bundle: Bundle
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "sub/b.png"):
        write(source / name, scratched(100, 200, BOX))
    write(source / "whole.png", scratched(100, 200))
    auto = "restore", source, "--mask", "auto", "-o", target
    assert run(capsys, toy_bundle, *auto, code=2)["ok"] is False
    assert not target.exists()
    told = run(capsys, seeing_bundle, *auto)
    assert (told["restored"], told["unmarked"], told["failed"]) == (2, 1, 0)
    assert [each["photo"] for each in told["mask_notes"]] == ["a.png", "sub/b.png"]
    assert all("was proposed" in each["note"] for each in told["mask_notes"])
    assert (read(target / "sub/b_mask.png")[40:46, 30:150] == 255).all()
    lines = [json.loads(line) for line in (target / "restore-sdk.jsonl").read_text().splitlines()]
    (fact,) = (line["masked"] for line in lines if line.get("photo") == "a.png")
    assert 0.03 < fact < 0.06
    assert run(capsys, seeing_bundle, *auto, "--sensitivity", "high", "--unmarked", "fail", code=9)["resumed"] == 2
    mask = np.zeros((100, 200), np.uint8)
    mask[10:12, 10:100] = 255
    cv2.imwrite(str(target / "a_mask.png"), mask)  # a person corrected it
    told = run(capsys, seeing_bundle, *auto)
    assert (told["restored"], told["resumed"]) == (1, 1)
    assert np.array_equal(read(target / "a_mask.png"), mask)


def test_masks_in_a_folder_are_no_photographs_and_do_not_collide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeing_bundle: Bundle
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "a.jpg", "b.png", "b_mask.png"):
        write(source / name, scratched(100, 200, BOX))
    told = run(capsys, seeing_bundle, "restore", source, "--mask", "auto", "-o", target, code=9)
    assert (told["restored"], {failure["photo"] for failure in told["failures"]}) == (1, {"a.png", "a.jpg"})
    assert "1 mask(s) beside photographs left alone" in told["notes"][0]
    assert (target / "b_mask.png").exists()
    assert all("which another one needs" in failure["message"] for failure in told["failures"])
