"""Hostile ONNX graphs, and a child process that gives each to the engine: ``python -m tests.attacks.graphs FOLDER``.

The child limits its own memory, prints one JSON object an attack, and goes on to the next.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.writing import StageFiles
from restore_sdk.engine import RestoreEngine
from restore_sdk.errors import RestoreError
from tests.toy_bundle import repair_graph, write_toy_bundle

#: Address space of the child: what the libraries take when they load, and room for an honest model.
LIMIT_BYTES = 4 << 30

Change = Callable[[ModelProto], None]
node = helper.make_node


def _constant(name: str, value: object) -> TensorProto:
    return numpy_helper.from_array(np.array(value, np.int64), name)


def _instead(nodes: list[NodeProto], *constants: TensorProto) -> Change:
    """Other nodes in place of the graph's own; ``image``, ``mask`` in, ``restored`` out."""

    def change(model: ModelProto) -> None:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(constants)

    return change


def external(location: str) -> Change:
    """A quarter, read as a float out of another file."""

    def change(model: ModelProto) -> None:
        (tensor,) = (each for each in model.graph.initializer if each.name == "quarter")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def _external_in_a_branch(model: ModelProto) -> None:
    """The same, in a graph inside an attribute of a node."""
    inner = onnx.load_from_string(repair_graph())
    external("secret.bin")(inner)
    (tensor,) = (each for each in inner.graph.initializer if each.name == "quarter")
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, [])
    branch = helper.make_graph([node("Identity", ["quarter"], ["o"])], "branch", [], [output], [tensor])
    always = numpy_helper.from_array(np.array(True), "always")
    model.graph.node.insert(0, node("If", ["always"], ["unused"], then_branch=branch, else_branch=branch))
    model.graph.initializer.append(always)


def _large(*shape: int) -> Change:
    nodes = [
        node("ConstantOfShape", ["large"], ["x"]),
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["sum_8"], to=TensorProto.UINT8),
        node("Add", ["image", "sum_8"], ["restored"]),
    ]
    return _instead(nodes, _constant("large", shape))


def _size_by_data() -> Change:
    """As many times the width as the brightest pixel of the mask says: no shape is known before it runs."""
    nodes = [
        node("ReduceMax", ["mask_f"], ["brightest"], keepdims=0),
        node("Cast", ["brightest"], ["times"], to=TensorProto.INT64),
        node("Unsqueeze", ["times", "axis"], ["times_1"]),
        node("Concat", ["one_1", "one_1", "times_1", "one_1"], ["repeats"], axis=0),
        node("Tile", ["image", "repeats"], ["restored"]),
    ]
    cast = node("Cast", ["mask"], ["mask_f"], to=TensorProto.FLOAT)
    return _instead([cast, *nodes], _constant("axis", [0]), _constant("one_1", [1]))


#: What is done to the repair stage's graph, or its bytes as they are.
ATTACKS: dict[str, Change | bytes] = {
    "noise": bytes(range(256)) * 9,
    "external data beside it": external("secret.bin"),
    "external data at an absolute path": external("/etc/passwd"),
    "external data in a branch": _external_in_a_branch,
    "external data in memory": external("*/_ORT_MEM_ADDR_/*"),
    "a custom operator": lambda model: setattr(model.graph.node[0], "domain", "evil.example"),
    "a loop of nodes": lambda model: model.graph.node[0].input.__setitem__(0, "restored"),
    "a tensor larger than its bytes": lambda model: model.graph.initializer[0].dims.__setitem__(slice(None), [1 << 30]),
    "terabytes": _large(1 << 20, 1 << 20),
    "a size that overflows": _large(1 << 40, 1 << 40),
    "a gigantic tile": _instead(
        [node("Tile", ["image", "repeats"], ["x"]), node("Slice", ["x", "from", "to"], ["restored"])],
        *(_constant("repeats", [4096, 64, 64, 1]), _constant("from", [0, 0, 0]), _constant("to", [1, 256, 256])),
    ),
    "more images than were asked for": _instead([node("Concat", ["image", "image"], ["restored"], axis=0)]),
    "images as large as the data says": _size_by_data(),
    "another picture everywhere": _instead(
        [
            node("Cast", ["image"], ["image_f"], to=TensorProto.FLOAT),
            node("Sub", ["high", "image_f"], ["negative"]),
            node("Cast", ["negative"], ["restored"], to=TensorProto.UINT8),
        ]
    ),
}

#: The attack that is served: the graph is sound, only the picture is not.
SERVED = "another picture everywhere"


def spoiled(attack: Change | bytes) -> bytes:
    if isinstance(attack, bytes):
        return attack
    model = onnx.load_from_string(repair_graph())
    attack(model)
    return model.SerializeToString()


def attack_one(folder: Path, name: str) -> dict[str, object]:
    """What came of it: the error's class and text, or whether the known pixels stayed, and the seconds."""
    graph = spoiled(ATTACKS[name])
    bundle = write_toy_bundle(folder / "bundle", repair=StageFiles("repair", graph, graph, 0, 0))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[:9] = 255
    started = time.monotonic()
    found: dict[str, object] = {"name": name}
    try:
        with RestoreEngine(bundle) as engine:
            restored = engine(image, mask)
        found["known_pixels_equal"] = bool((restored[9:] == image[9:]).all())
    except RestoreError as error:
        found |= {"error": type(error).__name__, "text": str(error), "hint": error.hint}
    except BaseException as error:
        found |= {"raw": f"{type(error).__name__}: {error}"}
    return found | {"seconds": time.monotonic() - started}


def main() -> None:
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in ATTACKS:
        print(json.dumps(attack_one(folder, name)), flush=True)


if __name__ == "__main__":
    main()
