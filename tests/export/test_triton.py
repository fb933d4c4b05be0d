"""The model repository for Triton Inference Server."""

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ctonnx.artifacts.report_schema import Precision, Target
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError
from ctonnx.inference.session import open_session, read_spec
from ctonnx.server.api.triton import model_config
from ctonnx_export.quantization.qdq import Scheme
from ctonnx_export.triton import write_repository


def made(file: Path, precision: Precision, target: Target | None = None) -> tuple[ModelSpec, Path]:
    spec = read_spec(open_session(file, optimize=False), "model")
    return replace(spec, precision=precision, quantization=target and Scheme(target=target).as_dict()), file


def config(folder: Path) -> model_config_pb2.ModelConfig:
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_each_model_has_its_config_its_labels_and_its_file(model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "fp32"), made(model, "int8")])
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    names = ("1/model.onnx", "config.pbtxt", "labels.txt")
    assert found == [f"models/tiny_{precision}/{name}" for precision in ("fp32", "int8") for name in names]
    assert (tmp_path / "models/tiny_int8/1/model.onnx").read_bytes() == model.read_bytes()
    labels = (tmp_path / "models/tiny_fp32/labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == ["cavitating", "large central", "normal", "small peripheral"]


def test_config_is_tritons_and_fits_the_model(model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "fp32")])
    found = config(tmp_path / "models/tiny_fp32")
    assert (found.name, found.backend, found.max_batch_size) == ("tiny_fp32", "onnxruntime", 32)
    session = open_session(model)
    types = {"tensor(uint8)": model_config_pb2.TYPE_UINT8, "tensor(float)": model_config_pb2.TYPE_FP32}
    # Triton's shape of one number an image is [1], which it reshapes to the model's.
    assert list(found.output[3].dims) == [1]
    assert found.output[3].HasField("reshape")
    served = model_config("tiny", read_spec(session, "model"), max_images=32)
    assert [(item["name"], item["dims"]) for item in served["output"]] == [
        (item.name, list(item.dims)) for item in found.output
    ]
    found.output[3].dims[:] = found.output[3].reshape.shape
    for ours, theirs in ((found.input, session.get_inputs()), (found.output, session.get_outputs())):
        assert [(item.name, item.data_type, list(item.dims)) for item in ours] == [
            (item.name, types[item.type], list(item.shape[1:])) for item in theirs
        ]
    assert found.output[0].label_filename == "labels.txt"


def test_requests_are_batched_and_instances_are_configured(model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "fp32")])
    found = config(tmp_path / "models/tiny_fp32")
    assert list(found.dynamic_batching.preferred_batch_size) == [8, 16, 32]
    assert found.dynamic_batching.max_queue_delay_microseconds == 2000
    assert [group.count for group in found.instance_group] == [1]


@pytest.mark.parametrize("target", ["x86", "amx", "arm"])
def test_int8_for_a_cpu_is_served_on_the_cpu(target: Target, model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "int8", target)])
    found = config(tmp_path / "models/tiny_int8")
    assert [group.kind for group in found.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_CPU]
    assert not found.HasField("optimization")


def test_int8_for_tensorrt_is_served_by_tensorrt(model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "int8", "tensorrt")])
    found = config(tmp_path / "models/tiny_int8")
    assert [group.kind for group in found.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    (accelerator,) = found.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("tensorrt", {"precision_mode": "INT8"})


def test_other_models_are_served_on_the_device_that_triton_chooses(model: Path, tmp_path: Path) -> None:
    write_repository(tmp_path / "models", [made(model, "fp16")])
    found = config(tmp_path / "models/tiny_fp16")
    assert [group.kind for group in found.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_AUTO]
    assert not found.HasField("optimization")


def test_folder_with_files_is_not_written_over(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CtonnxError) as caught:
        write_repository(tmp_path, [made(model, "fp32")])
    assert str(caught.value) == (
        f"expected a new or empty folder for the model repository at '{tmp_path}', found files in it; choose "
        "another --triton"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
