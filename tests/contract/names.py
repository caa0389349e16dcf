"""What this SDK uses of TensorRT's Python interface, read from its source."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from restore_sdk.engines.builder import FLOATS, HEAVY

SDK = Path(__file__).resolve().parents[2] / "restore_sdk"

#: Files that talk to TensorRT, and under which names each keeps objects of which class.
FILES: dict[str, dict[str, str]] = {
    "engines/builder.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "layer": "ILayer",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
    },
    "engines/trtlog.py": {},
    "runtime/trtstage.py": {
        "runtime": "Runtime",
        "_engine": "ICudaEngine",
        "context": "IExecutionContext",
        "_settings": "IRuntimeConfig",
    },
}

#: Names under which these files keep the module, and what they take from it that is no part of its interface.
MODULES, OTHER = ("trt", "_trt", "module"), {"__name__", "__version__", "module", "edition", "label"}

#: What only TensorRT for RTX has, and is used only there.
RTX_ONLY = {
    "ComputeCapability",
    "DynamicShapesKernelSpecializationStrategy",
    "IRuntimeConfig",
    "create_runtime_config",
    "num_compute_capabilities",
    "set_compute_capability",
}

#: By class or enumeration, its attributes: with how many arguments each is called, ``None`` where it is not called.
Uses = dict[str, dict[str, set[int | None]]]

#: Stands for a number of arguments that the source does not show.
ANY = -1

#: What is reached under other names than those above, or overridden.
_MORE: dict[str, dict[str, int | None]] = {
    "ITensor": dict.fromkeys(("name", "dtype", "shape")),
    "ParserError": dict.fromkeys(("desc", "node_name", "node_operator"), 0),
    "DataType": dict.fromkeys((*FLOATS, "UINT8")),
    "LayerType": dict.fromkeys(HEAVY),
    "ComputeCapability": dict.fromkeys(("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")),
    "DynamicShapesKernelSpecializationStrategy": {"EAGER": None},
    "ILogger": {"log": 2},
    "IProgressMonitor": {"phase_start": 3, "step_complete": 2, "phase_finish": 1},
}


def used() -> Uses:
    """All that the SDK takes from TensorRT."""
    found: Uses = defaultdict(lambda: defaultdict(set))
    for name, attributes in _MORE.items():
        for attribute, count in attributes.items():
            found[name][attribute].add(count)
    for file, receivers in FILES.items():
        tree = ast.parse((SDK / file).read_text(encoding="utf-8"))
        calls = {id(node.func): node.args for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr == "__init__":
                continue
            arguments, owner = calls.get(id(node)), node.value
            count = None if arguments is None else len(arguments)
            if any(isinstance(argument, ast.Starred) for argument in arguments or ()):
                count = ANY
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in receivers:
                found[receivers[name]][node.attr].add(count)
            elif name in MODULES and node.attr not in OTHER:
                found[node.attr].update({} if count is None else {"__init__": {count}})
            elif isinstance(owner, ast.Attribute) and ast.unparse(owner.value).rpartition(".")[2] in MODULES:
                found[name][node.attr].add(count)
    return found
