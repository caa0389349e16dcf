"""What ``restore-sdk triton`` writes: against Triton's own definitions and the graphs, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.cluster import write_repository
from restore_sdk.errors import OutputError
from tests.toy_bundle import write_toy_bundle

STAGES = ("edge", "repair")


def config(folder: Path) -> Any:
    """A model's ``config.pbtxt``, read by Triton's own protobuf definition."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def tensors(described: Any) -> dict[str, tuple[str, list[int]]]:
    return {one.name: (model_config_pb2.DataType.Name(one.data_type), list(one.dims)) for one in described}


def graph_tensors(described: Any) -> dict[str, tuple[str, list[int]]]:
    """Of an ONNX graph, without the batch axis, which must be open."""
    found = {}
    for one in described:
        kind = one.type.tensor_type
        batch, *rest = kind.shape.dim
        assert batch.dim_param
        found[one.name] = (f"TYPE_{onnx.TensorProto.DataType.Name(kind.elem_type)}", [side.dim_value for side in rest])
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_each_stage_is_its_graph(tmp_path: Path, precision: Any) -> None:
    bundle = Bundle.load()
    written = write_repository(tmp_path / "models", bundle, precision=precision)
    assert written["models"] == ["restore", "restore_with_edges", "restore_edge", "restore_repair"]
    for name in STAGES:
        model = config(tmp_path / "models" / f"restore_{name}")
        file = tmp_path / "models" / model.name / "1" / model.default_model_filename
        assert file.read_bytes() == bundle.read(bundle.file(name, precision))
        graph = onnx.load(file).graph
        assert tensors(model.input) == graph_tensors(graph.input)
        assert tensors(model.output) == graph_tensors(graph.output)
        assert (model.name, model.backend, model.max_batch_size) == (f"restore_{name}", "onnxruntime", 8)
        assert model.HasField("dynamic_batching")
        assert model.dynamic_batching.max_queue_delay_microseconds == 0
        assert model.version_policy.latest.num_versions == 1
        (group,) = model.instance_group
        assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_AUTO, 1)
        (warm,) = model.model_warmup
        shown = {
            key: (model_config_pb2.DataType.Name(value.data_type), list(value.dims))
            for key, value in warm.inputs.items()
        }
        assert shown == tensors(model.input)


@pytest.mark.parametrize(
    ("name", "outputs"), [("restore", {"restored"}), ("restore_with_edges", {"restored", "completed_edges"})]
)
def test_the_ensembles_chain_the_stages(tmp_path: Path, name: str, outputs: set[str]) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle", name='J\u00fcrgen\'s "best"\\model \u2728')
    write_repository(tmp_path / "models", bundle, max_batch=4)
    ensemble = config(tmp_path / "models" / name)
    stages = [config(tmp_path / "models" / f"restore_{name}") for name in STAGES]
    assert (ensemble.platform, ensemble.max_batch_size) == ("ensemble", 4)
    known = tensors(ensemble.input)
    steps = ensemble.ensemble_scheduling.step
    assert [step.model_name for step in steps] == [stage.name for stage in stages]
    for step, stage in zip(steps, stages, strict=True):
        assert step.model_version == -1
        assert stage.max_batch_size == 4
        assert {key: known[value] for key, value in step.input_map.items()} == tensors(stage.input)
        assert set(step.output_map) == set(tensors(stage.output))
        known |= {step.output_map[key]: kind for key, kind in tensors(stage.output).items()}
    assert {name: known[name] for name in tensors(ensemble.output)} == tensors(ensemble.output)
    assert set(tensors(ensemble.output)) == outputs
    assert json.loads(ensemble.parameters["restore_sdk"].string_value) == bundle.facts()


def test_one_of_ours_is_replaced(tmp_path: Path, toy_bundle: Bundle) -> None:
    target = tmp_path / "models"
    target.mkdir()
    write_repository(target, toy_bundle)
    write_repository(target, Bundle.load())
    marker = json.loads((target / "restore-sdk.json").read_text())
    assert marker["bundle"]["name"] == Bundle.load().manifest.name
    on_disk = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert on_disk == {*marker["files"], "restore-sdk.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["models"], "nothing is left beside it"


SPOILT: dict[str, Callable[[Path], object]] = {
    "a file": lambda target: (target / "notes.txt").write_text("mine"),
    "a link": lambda target: (target / "more").symlink_to(target.parent, target_is_directory=True),
    "no marker": lambda target: (target / "restore-sdk.json").unlink(),
    "another marker": lambda target: (target / "restore-sdk.json").write_text("[]"),
    "no folder": lambda target: (shutil.rmtree(target), target.write_text("mine")),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_no_such_repository_stays(tmp_path: Path, toy_bundle: Bundle, spoil: Any) -> None:
    target = tmp_path / "models"
    write_repository(target, toy_bundle)
    spoil(target)
    before = sorted(target.rglob("*"))
    with pytest.raises(OutputError):
        write_repository(target, toy_bundle)
    assert sorted(target.rglob("*")) == before


def test_a_graph_that_was_altered_is_not_written(tmp_path: Path, writable_bundle: Path) -> None:
    (writable_bundle / "repair.onnx").write_bytes(b"other")
    assert cli.main(["triton", str(tmp_path / "models"), "--bundle", str(writable_bundle)]) == 5
    assert not (tmp_path / "models").exists()


def test_the_command(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "models"
    arguments = ["triton", str(target), "--bundle", str(toy_bundle.path)]
    serving = ["--device", "cpu", "--max-batch", "2", "--instances", "3", "--queue-delay-us", "250"]
    assert cli.main([*arguments, *serving]) == 0
    assert f"tritonserver --model-repository={target}" in capsys.readouterr().out
    model = config(target / "restore_edge")
    (group,) = model.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 3)
    assert (model.max_batch_size, model.dynamic_batching.max_queue_delay_microseconds) == (2, 250)
    assert cli.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["max_batch"], report["models"][0]) == (8, "restore")
    for name, value in (("max-batch", 1000), ("max-batch", 0), ("instances", 0), ("queue-delay-us", -1)):
        assert cli.main([*arguments, f"--{name}", str(value)]) == 2
        assert "hint: " in capsys.readouterr().err
    assert cli.main(["triton", str(tmp_path / "no" / "models")]) == 2
