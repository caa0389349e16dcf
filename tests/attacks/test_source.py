"""What linters do not look for: libraries that report, and arrays or weights that could bring code with them.

Pickle, eval, exec and shells are refused by ruff (rules S in pyproject.toml).
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("restore_sdk", "training", "export", "engines", "benchmarks", "examples", "scripts")

#: Libraries that report that they are used, unless they are imported in the one way that keeps them quiet.
REPORTERS = {"onnxruntime", "openvino"}


def told(source: str) -> list[str]:
    """Imports of such a library outside a ``with no_telemetry()``."""
    tree = ast.parse(source)
    quiet = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr) == "no_telemetry()"
        for inner in ast.walk(node)
    }
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in quiet]
    names: list[str] = []
    for node in found:
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return [name for name in names if name.partition(".")[0] in REPORTERS]


def test_the_look_finds_a_loud_import() -> None:
    assert told("import onnxruntime as ort") == ["onnxruntime"]
    assert told("try:\n    from openvino import Core\nexcept ImportError: pass") == ["openvino"]
    assert told("with no_telemetry():\n    import onnxruntime as ort\nimport json") == []


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_reports_or_brings_code(room: str) -> None:
    """numpy refuses pickled arrays unless it is told otherwise; torch is used without its loader."""
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        source = path.read_text(encoding="utf-8")
        assert told(source) == [], path
        calls = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        assert not [call for call in calls if "allow_pickle=True" in call or call.startswith("torch.load(")], path
