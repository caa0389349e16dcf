"""No pickle, no eval, no shell: looked for in the syntax of every file that is not a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("restore_sdk", "training", "export", "engines", "benchmarks", "examples", "scripts")

#: Modules that run what they read.
PICKLES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop"}
#: Names that run text as a program, in Python or in a shell.
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
}
#: Calls that unpickle unless told not to: the argument and the one value that it must have.
LOADS = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}


def findings(source: str) -> list[str]:
    """What a file does that no file may do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {name}" for name in names if name.partition(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {word.arg: word.value for word in node.keywords}
            if name in RUNS_TEXT | SHELLS:
                found.append(f"calls {name}")
            if "shell" in options and ast.unparse(options["shell"]) != "False":
                found.append(f"calls {name} with a shell")
            if name in LOADS:
                option, value = LOADS[name]
                given = options.get(option)
                if not (isinstance(given, ast.Constant) and given.value is value):
                    found.append(f"calls {name} without {option}={value}")
            if name.endswith("extractall") and ast.unparse(options.get("filter", ast.Constant(None))) != "'data'":
                found.append(f"calls {name} without filter='data'")
    return found


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
    names = [
        name
        for node in found
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    return [name for name in names if name.partition(".")[0] in REPORTERS]


@pytest.mark.parametrize("room", ROOMS)
def test_libraries_that_report_are_kept_quiet(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        assert told(path.read_text(encoding="utf-8")) == [], path


def test_the_look_finds_a_loud_import() -> None:
    assert told("import onnxruntime as ort") == ["onnxruntime"]
    assert told("try:\n    from openvino import Core\nexcept ImportError: pass") == ["openvino"]
    assert told("with no_telemetry():\n    import onnxruntime as ort\nimport json") == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_runs_what_it_reads(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    bad = {str(path.relative_to(ROOT)): findings(path.read_text(encoding="utf-8")) for path in files}
    assert {name: what for name, what in bad.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import marshal as m",
        "eval(text)",
        "exec(compile(text, '', 'exec'))",
        "import os; os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run(command, shell=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "archive.extractall(folder)",
        "archive.extractall(folder, filter='fully_trusted')",
    ],
)
def test_the_look_finds(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source", ["re.compile('a')", "model.eval()", "np.load(path, allow_pickle=False)", "json.loads(x)"]
)
def test_the_look_lets_pass(source: str) -> None:
    assert not findings(source)
