"""Recipes: the shipped ones, files, and what is refused."""

import tomllib
from pathlib import Path

import pytest

from restore_sdk.engines.recipe import TARGETS, load_recipe, names, parse_recipe, recipe_for_device
from restore_sdk.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
VALID = {"description": "x", "edition": "tensorrt", "compute_capabilities": ["8.6"]}


def test_the_shipped_recipes() -> None:
    found = {name: load_recipe(name) for name in names()}
    assert {name: " ".join(one.compute_capabilities) for name, one in found.items()} == {
        **{"t4": "7.5", "a10": "8.6", "a100": "8.0", "l4": "8.9", "h100": "9.0", "jetson-orin": "8.7"},
        **{"rtx3090": "8.6", "rtx4090": "8.9", "rtx5090": "12.0", "any-rtx": "7.5 8.0 8.6 8.9 12.0 12.1"},
    }
    assert {name for name, one in found.items() if one.edition == "tensorrt_rtx"} == {
        name for name in found if "rtx" in name
    }
    assert all(one.description and one.max_batch >= 2 for one in found.values())
    for path in TARGETS.glob("*.toml"):  # a precision is in the graph; no version has a flag for it
        assert not {key for key in tomllib.loads(path.read_text()) if "fp" in key or "precision" in key}


def test_the_checkout_s_recipes_are_those_of_the_wheel() -> None:
    link = ROOT / "engines" / "targets"
    if not link.is_dir():
        pytest.skip("this checkout was made without symbolic links")
    assert link.resolve() == TARGETS.resolve()


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "Mine.toml"
    path.write_text(
        'description = "mine"\nedition = "tensorrt"\ncompute_capabilities = ["8.9", "8.6"]\nmax_batch = 2\n'
    )
    found = load_recipe(str(path))
    assert (found.name, found.max_batch, found.compute_capabilities) == ("mine", 2, ("8.6", "8.9"))


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no target 'gtx'") as caught:
        load_recipe("gtx")
    assert "any-rtx" in caught.value.hint
    for name in ("../any-rtx", "a/b", "", "."):
        with pytest.raises(InputError):
            load_recipe(name)
    with pytest.raises(InputError, match="cannot read"):
        load_recipe(str(tmp_path / "no.toml"))
    for data in (b"\xff\xfe = 1", b"max_batch = " + b"9" * 5000, b"platforms = " + b"[" * 5000):
        (tmp_path / "bad.toml").write_bytes(data)
        with pytest.raises(InputError, match="no TOML"):
            load_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    "change",
    [
        *({field: ...} for field in VALID),
        {"fp16": True},
        {"name": "other"},
        {"edition": "tensorflow"},
        {"hardware": "ampere_plus"},
        {"compute_capabilities": []},
        {"compute_capabilities": "8.6"},
        {"compute_capabilities": ["86"]},
        {"compute_capabilities": [8.6]},
        {"platforms": ["Linux"]},
        {"opt_batch": 0},
        {"max_batch": 65},
        {"opt_batch": 5, "max_batch": 4},
        {"max_batch": 4.0},
        {"max_batch": True},
        {"workspace_mib": -1},
        {"optimization_level": 6},
        {"description": 7},
        {"edition": "tensorrt_rtx"},
    ],
)
def test_invalid_recipes_are_refused(change: dict[str, object]) -> None:
    assert parse_recipe(VALID, "valid").max_batch == 4
    with pytest.raises(InputError, match="not valid") as caught:
        parse_recipe({key: value for key, value in (VALID | change).items() if value is not ...}, "mine")
    assert all(field in caught.value.message for field, value in change.items() if value is ...)
    assert caught.value.hint


def test_the_gpu_at_hand() -> None:
    found = recipe_for_device("tensorrt", "8.9")
    assert (found.hardware, found.compute_capabilities) == ("device", ("8.9",))
    assert recipe_for_device("tensorrt_rtx", "8.9").hardware == "capability"
