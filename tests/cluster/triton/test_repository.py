"""What ``restore-sdk triton`` writes: against Triton's own definitions and the graphs, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.cluster.triton_config import Serving
from restore_sdk.cluster.triton_repository import write_repository
from restore_sdk.engines.store import EngineStore
from restore_sdk.errors import (
    EngineIncompatibleError,
    EngineIntegrityError,
    EngineNotBuiltError,
    InputError,
    OutputError,
)
from tests.engines.conftest import made_up

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
    assert written.models == ("restore", "restore_with_edges", "restore_edge", "restore_repair")
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
def test_the_ensembles_chain_the_stages(tmp_path: Path, toy_bundle: Bundle, name: str, outputs: set[str]) -> None:
    write_repository(tmp_path / "models", toy_bundle, max_batch=4)
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
    assert json.loads(ensemble.parameters["restore_sdk"].string_value) == toy_bundle.facts()


def test_how_it_serves_can_be_said(tmp_path: Path, toy_bundle: Bundle) -> None:
    serving = Serving(device="cpu", instances=3, queue_delay_us=250)
    write_repository(tmp_path / "models", toy_bundle, serving=serving)
    model = config(tmp_path / "models" / "restore_edge")
    (group,) = model.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 3)
    assert model.dynamic_batching.max_queue_delay_microseconds == 250
    for wrong in ({"instances": 0}, {"queue_delay_us": -1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Serving(**wrong)
    with pytest.raises(InputError, match="max_batch"):
        write_repository(tmp_path / "models", toy_bundle, max_batch=0)


def test_any_name_of_a_bundle(tmp_path: Path) -> None:
    from tests.toy_bundle import write_toy_bundle

    name = 'J\u00fcrgen\'s "best"\\model \u2728'
    bundle = write_toy_bundle(tmp_path / "bundle", name=name)
    write_repository(tmp_path / "models", bundle)
    ensemble = config(tmp_path / "models" / "restore")
    assert json.loads(ensemble.parameters["restore_sdk"].string_value)["name"] == name


class TestTarget:
    def test_one_of_ours_is_replaced(self, tmp_path: Path, toy_bundle: Bundle) -> None:
        target = tmp_path / "models"
        target.mkdir()
        write_repository(target, toy_bundle)
        write_repository(target, Bundle.load())
        marker = json.loads((target / "restore-sdk.json").read_text())
        assert marker["bundle"]["name"] == Bundle.load().manifest.name
        on_disk = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
        assert on_disk == {*marker["files"], "restore-sdk.json"}
        assert [path.name for path in tmp_path.iterdir()] == ["models"], "nothing is left beside it"

    @pytest.mark.parametrize("spoil", ["file", "model", "marker", "link", "folder", "list"])
    def test_what_is_no_such_repository_stays(self, tmp_path: Path, toy_bundle: Bundle, spoil: str) -> None:
        target = tmp_path / "models"
        write_repository(target, toy_bundle)
        if spoil == "file":
            (target / "notes.txt").write_text("mine")
        elif spoil == "model":
            (target / "other" / "1").mkdir(parents=True)
            (target / "other" / "1" / "model.onnx").write_bytes(b"mine")
        elif spoil == "link":
            (target / "more").symlink_to(tmp_path, target_is_directory=True)
        elif spoil == "marker":
            (target / "restore-sdk.json").unlink()
        elif spoil == "list":
            (target / "restore-sdk.json").write_text("[]")
        else:
            target = tmp_path / "file"
            target.write_text("mine")
        before = sorted(target.rglob("*"))
        with pytest.raises(OutputError):
            write_repository(target, toy_bundle)
        assert sorted(target.rglob("*")) == before

    def test_an_altered_graph_is_not_written(self, tmp_path: Path, writable_bundle: Path) -> None:
        (writable_bundle / "repair.onnx").write_bytes(b"other")
        assert cli.main(["triton", str(tmp_path / "models"), "--bundle", str(writable_bundle)]) == 5
        assert not (tmp_path / "models").exists()


class TestPlans:
    """Made-up plans: whether a real TensorRT runs them is not shown here, only which of them are taken."""

    def publish(self, store: EngineStore, bundle: Bundle, number: int = 0, stages: Any = STAGES, **key: Any) -> None:
        for stage in stages:
            plan = b"ftrt" + bytes([number]) * 100 + stage.encode()
            store.publish(plan, made_up(bundle, stage, plan, **key))

    def test_one_for_each_gpu(self, tmp_path: Path, toy_bundle: Bundle) -> None:
        store = EngineStore(tmp_path / "store")
        self.publish(store, toy_bundle, 1)
        self.publish(store, toy_bundle, 2, compute_capabilities=("9.0",), device_name="NVIDIA H100", max_batch=16)
        self.publish(store, toy_bundle, 3, hardware="ampere_plus", compute_capabilities=("8.0",), device_name="")
        written = write_repository(tmp_path / "models", toy_bundle, backend="tensorrt", store=store)
        assert (written.max_batch, written.tensorrt) == (4, "10.16.1.11")
        assert (written.unproven, written.arguments) == (STAGES, ())
        for stage in STAGES:
            model = config(tmp_path / "models" / f"restore_{stage}")
            assert model.backend == "tensorrt"
            assert model.default_model_filename == "model.plan"
            assert dict(model.cc_model_filenames) == {"8.6": "model.sm86.plan", "9.0": "model.sm90.plan"}
            assert model.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
            folder = tmp_path / "models" / model.name / "1"
            for number, file in ((1, "model.sm86.plan"), (2, "model.sm90.plan"), (3, "model.plan")):
                assert (folder / file).read_bytes() == b"ftrt" + bytes([number]) * 100 + stage.encode()

    def test_what_does_not_go_together(self, tmp_path: Path, toy_bundle: Bundle) -> None:
        store = EngineStore(tmp_path / "store")

        def write(**options: Any) -> Any:
            return write_repository(tmp_path / "models", toy_bundle, backend="tensorrt", store=store, **options)

        with pytest.raises(EngineNotBuiltError, match=r"holds no plan of stage edge of toy 1\.0"):
            write()
        self.publish(store, toy_bundle, edition="tensorrt_rtx", version="1.7.1")
        with pytest.raises(EngineNotBuiltError, match="TensorRT for RTX"):
            write()
        self.publish(store, toy_bundle, stages=("edge",))
        with pytest.raises(EngineNotBuiltError, match="no plan of stage repair"):
            write()
        self.publish(store, toy_bundle)
        self.publish(store, toy_bundle, stages=("repair",), compute_capabilities=("9.0",), device_name="NVIDIA H100")
        with pytest.raises(EngineNotBuiltError, match=r"stage edge has no plan for 9\.0"):
            write()
        self.publish(store, toy_bundle, compute_capabilities=("9.0",), device_name="NVIDIA H100")
        assert write().max_batch == 4
        for wrong in ({"max_batch": 5}, {"serving": Serving(device="cpu")}):
            with pytest.raises(InputError):
                write(**wrong)
        self.publish(store, toy_bundle, version="11.4.0.106")
        with pytest.raises(EngineIncompatibleError, match=r"10\.16\.1\.11.*11\.4\.0\.106"):
            write()
        assert write(tensorrt="11.4.0.106").tensorrt == "11.4.0.106"
        with pytest.raises(EngineNotBuiltError, match=r"of TensorRT 9, but of 10\.16\.1\.11, 11\.4\.0\.106"):
            write(tensorrt="9")
        other = EngineStore(tmp_path / "other")
        for version in ("10.13.3.9", "11.4.0.106"):  # for one device: the newest must not win unasked
            self.publish(other, toy_bundle, version=version)
        with pytest.raises(EngineIncompatibleError, match=r"10\.13\.3\.9.*11\.4\.0\.106"):
            write_repository(tmp_path / "models", toy_bundle, backend="tensorrt", store=other)
        self.publish(store, toy_bundle, device_name="NVIDIA A40", version="11.4.0.106")
        with pytest.raises(EngineIncompatibleError, match=r"NVIDIA A(10|40) and for NVIDIA A(10|40)"):
            write(tensorrt="11.4.0.106")

    def test_what_the_user_must_know_of_them(
        self, tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = EngineStore(tmp_path / "store")
        self.publish(store, toy_bundle, version_compatible=True)
        arguments = ["triton", str(tmp_path / "models"), "--bundle", str(toy_bundle.path), "--runtime", "tensorrt"]
        arguments += ["--store", str(store.root)]
        assert cli.main(arguments) == 0
        said = capsys.readouterr().out
        assert "the golden vectors never ran on the plans of edge, repair" in said
        assert "--backend-config=tensorrt,version-compatible=true" in said
        for entry in store.entries():
            assert entry.sidecar is not None
            store.mark_verified(store.read(entry.sidecar), {})
        assert cli.main(arguments) == 0
        assert "golden vectors" not in capsys.readouterr().out

    def test_a_torn_plan_is_not_written(self, tmp_path: Path, toy_bundle: Bundle) -> None:
        store = EngineStore(tmp_path / "store")
        self.publish(store, toy_bundle)
        plan = next(store.root.glob("repair.*.plan"))
        plan.write_bytes(b"torn")
        with pytest.raises(EngineIntegrityError, match="truncated"):
            write_repository(tmp_path / "models", toy_bundle, backend="tensorrt", store=store)
        plan.unlink()
        with pytest.raises(EngineIntegrityError, match="a plan is gone"):
            write_repository(tmp_path / "models", toy_bundle, backend="tensorrt", store=store)
        assert not (tmp_path / "models").exists()


def test_the_command(tmp_path: Path, toy_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "models"
    arguments = ["triton", str(target), "--bundle", str(toy_bundle.path)]
    assert cli.main([*arguments, "--device", "cpu", "--max-batch", "2"]) == 0
    assert f"tritonserver --model-repository={target}" in capsys.readouterr().out
    assert cli.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["max_batch"], report["tensorrt"], report["models"][0]) == (8, None, "restore")
    store = ["--store", str(tmp_path / "store")]
    for wrong, code in (
        (["--runtime", "tensorrt", *store], 4),
        (["--runtime", "tensorrt", "--precision", "fp16"], 2),
        (["--tensorrt", "10.16.1.11"], 2),
        (store, 2),
        (["--max-batch", "1000"], 2),
    ):
        assert cli.main([*arguments, *wrong]) == code
        assert "hint: " in capsys.readouterr().err
    assert cli.main(["triton", str(tmp_path / "no" / "models")]) == 2
