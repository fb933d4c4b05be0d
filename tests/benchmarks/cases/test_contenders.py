"""The contenders: every precision of a run, peers that can run, and the reason for each other one."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx_bench.cases import contenders
from ctonnx_bench.cases.adapters.adapter import PEERS
from ctonnx_bench.cases.contenders import Model, find_peers, own, read_models, run_of


def test_default_is_every_precision_of_the_newest_run(workspace: Path) -> None:
    shutil.copy("runs/tiny/export/model.fp32.onnx", "runs/tiny/export/model.int8.onnx")
    models = read_models([])
    assert [model.path.name for model in models] == ["model.fp32.onnx", "model.int8.onnx"]
    assert models[0].as_dict()["bytes"] == models[0].path.stat().st_size > 1_000_000
    assert len(models[0].sha256) == 64


def test_titles_of_files_of_one_precision_include_their_paths(workspace: Path) -> None:
    shutil.copy("runs/tiny/export/model.fp32.onnx", "other.onnx")
    titles = [item.title for item in own(read_models([Path("runs/tiny"), Path("other.onnx")]))]
    assert titles == ["ctonnx FP32 (runs/tiny/export/model.fp32.onnx)", "ctonnx FP32 (other.onnx)"]


def test_titles_of_int8_files_include_their_targets(workspace: Path) -> None:
    (fp32,) = read_models([])

    def int8(target: str) -> Model:
        return replace(fp32, spec=replace(fp32.spec, precision="int8", quantization={"target": target}))

    models = {target: int8(target) for target in ("x86", "amx")}
    titles = ["ctonnx FP32", "ctonnx INT8", "ctonnx INT8 for amx"]
    assert [item.title for item in own([fp32, *models.values()])] == titles
    assert [item.title for item in own([models["amx"]])] == titles[2:]  # regardless of the other models
    assert [item.title for item in own([models["amx"]] * 2)] == [f"ctonnx INT8 for amx ({fp32.path})"] * 2
    assert (fp32.as_dict()["target"], models["amx"].as_dict()["target"]) == (None, "amx")


def test_models_of_two_checkpoints_are_rejected(workspace: Path) -> None:
    changed = onnx.load("runs/tiny/export/model.fp32.onnx")
    for item in changed.metadata_props:
        if item.key == METADATA_KEY:
            sha = read_models([])[0].spec.checkpoint_sha256
            item.value = item.value.replace(sha, "0" * 64)
    onnx.save(changed, "other.onnx")
    with pytest.raises(ModelError, match=r"expected models of one checkpoint, .* and 'other.onnx' of 000000000000"):
        read_models([Path("runs/tiny"), Path("other.onnx")])


def test_run_is_the_one_that_contains_the_models_or_the_named_one(exported_run: Run, workspace: Path) -> None:
    models = read_models([])
    found = run_of(models, None)
    assert found is not None
    assert found.name == "tiny"
    shutil.copy("runs/tiny/export/model.fp32.onnx", "alone.onnx")
    alone = read_models([Path("alone.onnx")])
    assert run_of(alone, None) is None
    named = run_of(alone, exported_run.folder)
    assert named is not None
    Path("runs/tiny/model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"expected the run of checkpoint \w{12} for --reference, found 'runs/tiny'"):
        run_of(alone, Path("tiny"))
    assert run_of(models, None) is None


def test_peers_that_cannot_run_are_skipped_with_a_reason(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name in ("openvino", "nncf") else object())
    models = read_models([])
    found, skipped = find_peers(PEERS, models, run_of(models, None), "cpu")
    assert [(item.title, item.model.name, item.own) for item in found] == [
        ("PyTorch eager", "tiny", False),
        ("torch.compile", "tiny", False),
        ("onnxruntime, plain", "model.fp32.onnx", False),
    ]
    assert found[0].size == Path("runs/tiny/model.safetensors").stat().st_size
    assert skipped == {
        "PyTorch FP16": "it does not run on cpu here, only on cuda",
        "torch.compile FP16": "it does not run on cpu here, only on cuda",
        "PyTorch FP16, CUDA graph": "it does not run on cpu here, only on cuda",
        "OpenVINO": "openvino not installed; pip install openvino",
        "OpenVINO, ctonnx's INT8 file": "openvino not installed; pip install openvino",
        "OpenVINO, its INT8": "openvino, nncf not installed; pip install openvino nncf",
    }


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("cpu", ["pytorch", "torch-compile", "onnxruntime", "openvino", "openvino-int8"]),
        ("openvino", ["pytorch", "torch-compile", "onnxruntime", "openvino", "openvino-int8"]),
        ("cuda", ["pytorch", "torch-compile", "onnxruntime"]),
        ("directml", []),
    ],
)
def test_peers_are_those_that_compute_on_the_providers_processor(
    provider: str, expected: list[str], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: object())
    models = read_models([])
    found, _ = find_peers(PEERS, models, run_of(models, None), provider)
    assert [item.adapter for item in found] == expected


def test_peers_without_their_model_are_skipped_too(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: object())
    models = read_models([])
    _, skipped = find_peers(["pytorch", "pytorch-fp16", "openvino"], models, None, "cuda")
    assert skipped == {
        "PyTorch FP16": "it is compared with an FP16 model, and none is measured",
        "PyTorch eager": "the models are not in the run of their checkpoint; name it with --reference RUN",
        "OpenVINO": "it does not run on cuda here, only on cpu",
    }


def test_openvino_runs_the_measured_int8_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: object())
    (fp32,) = read_models([])
    _, skipped = find_peers(["openvino-file"], [fp32], None, "cpu")
    assert skipped == {"OpenVINO, ctonnx's INT8 file": "it runs an INT8 model, and none is measured"}
    arm, amx = (
        replace(fp32, path=Path(f"{target}.onnx"), spec=replace(fp32.spec, precision="int8"), size=7)
        for target in ("arm", "amx")
    )
    Path("arm.onnx").write_bytes(b"1234567")
    found, _ = find_peers(["openvino-file"], [fp32, arm, amx], None, "cpu")
    assert [(item.model.name, item.precision, item.size) for item in found] == [("arm.onnx", "int8", 7)]
