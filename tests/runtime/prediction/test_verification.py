"""`verify`: an unchanged export passes, and changed, missing or mixed-up files are reported."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden, save_golden
from ctonnx.cli.main import main
from ctonnx.errors import CheckFailed, ModelError, ProviderError
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.verification import Verification, verify


@pytest.fixture
def export(workspace: Path) -> Path:
    """The export folder of a copy of the run, which is the newest run of the working folder."""
    return workspace / "runs/tiny/export"


def change_golden(export: Path, change: Callable[[Golden], Golden]) -> None:
    save_golden(export / FILE_NAME, change(load_golden(export / FILE_NAME)))


def alter_weight(model: Path, amount: float) -> None:
    loaded = onnx.load(model)
    weight = next(weight for weight in loaded.graph.initializer if weight.name.endswith("dense3.bias"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] += amount
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(loaded, model)


def test_unchanged_export_verifies(export: Path) -> None:
    result = verify(export / "model.fp32.onnx")
    assert result.failures == ()
    assert (result.precision, result.provider, result.with_pytorch.images) == ("fp32", "cpu", 8)
    assert result.with_pytorch.max_dp <= 1e-4
    assert result.with_export.max_dp <= 1e-6


def test_command_verifies_the_newest_run_and_prints_the_parity(export: Path) -> None:
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "runs/tiny/export/model.fp32.onnx: fp32 on cpu, 8 golden inputs"
    assert lines[1].split() == ["against", "PyTorch", "limit", "its", "export", "limit"]
    assert lines[2].split() == ["top-1", "agreement", "100.00%", "-", "100.00%", "-"]
    assert lines[3].startswith("  max |dp| ")
    assert lines[3].count("<= 0.0001") == 2
    assert lines[7:9] == [
        "  max |dp|: the largest absolute difference of any class's probability over the compared images",
        "  another top-1 class than PyTorch's: 0 of 8 images, any number allowed, as its gate has only a bound on "
        "max |dp|",
    ]
    assert lines[-1] == "  verified"


def test_every_model_of_an_export_is_verified_and_each_is_named(export: Path) -> None:
    """The second file is declared as FP16, with the outputs of FP32."""
    loaded = onnx.load(export / "model.fp32.onnx")
    spec = json.loads(loaded.metadata_props[0].value)
    loaded.metadata_props[0].value = json.dumps({**spec, "precision": "fp16"})
    onnx.save(loaded, export / "model.fp16.onnx")
    digest = hashlib.sha256((export / "model.fp16.onnx").read_bytes()).hexdigest()

    def add(golden: Golden) -> Golden:
        answers = {**golden.model_outputs, "fp16": golden.model_outputs["fp32"]}
        return replace(golden, model_outputs=answers, model_sha256={**golden.model_sha256, "fp16": digest})

    change_golden(export, add)
    result = CliRunner().invoke(main, ["verify", "runs/tiny"])
    assert result.exit_code == 0, result.output
    named = [line for line in result.stdout.splitlines() if line.startswith("runs/")]
    assert named == [
        f"runs/tiny/export/model.{precision}.onnx: {precision} on cpu, 8 golden inputs"
        for precision in ("fp32", "fp16")
    ]
    assert ">= 99.00%" in result.stdout
    alter_weight(export / "model.fp16.onnx", 0.5)
    result = CliRunner().invoke(main, ["verify", "runs/tiny", "--json"])
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["verified"], [bool(model["failures"]) for model in facts["models"]]) == (False, [False, True])


def test_model_that_cannot_be_read_does_not_stop_the_others(export: Path) -> None:
    data = (export / "model.fp32.onnx").read_bytes()
    (export / "model.fp16.onnx").write_bytes(data[:1000])
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "  verified" in lines
    assert lines[-2] == "runs/tiny/export/model.fp16.onnx:"
    assert "was changed since its export, or its golden.npz is of another export" in lines[-1]
    document = json.loads(CliRunner().invoke(main, ["verify", "--json"]).stdout)
    assert (document["verified"], [bool(model["failures"]) for model in document["models"]]) == (False, [False, True])


def test_truncated_file_was_changed(export: Path) -> None:
    data = (export / "model.fp32.onnx").read_bytes()
    (export / "model.fp32.onnx").write_bytes(data[:1000])
    with pytest.raises(CheckFailed, match=r"was changed since its export.*cannot be replayed"):
        verify(export / "model.fp32.onnx")


def test_folder_without_models_is_rejected_with_the_expected_files(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: expected exported models (model.fp32.onnx) or a run (model.safetensors) in")


def test_document_has_the_parity(export: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(export / "model.fp32.onnx"), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (facts,) = document["models"]
    assert document["verified"] is True
    assert (facts["precision"], facts["images"], facts["failures"]) == ("fp32", 8, [])
    assert (facts["pytorch_gate"]["max_dp"], facts["export_gate"]["max_dp"]) == (1e-4, 1e-4)
    assert facts["with_pytorch"]["agreement"] == 1.0


def test_changed_weight_is_found_by_the_digest_and_by_the_outputs(export: Path) -> None:
    alter_weight(export / "model.fp32.onnx", 0.5)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("  NOT VERIFIED: the file's SHA-256 is ")
    assert (
        ": it was changed since, or its golden.npz is of another export; copy both files from one export folder; "
        in last
    )
    assert "; against PyTorch, max |dp| is 0." in last
    assert "against its own outputs at export, max |dp| is 0." in last


def test_change_that_the_outputs_do_not_show_is_found_by_the_digest(export: Path) -> None:
    alter_weight(export / "model.fp32.onnx", 1e-7)
    (failure,) = verify(export / "model.fp32.onnx").failures
    assert failure.startswith("the file's SHA-256 is ")


def test_device_that_computes_something_else_is_found_by_the_outputs(export: Path) -> None:
    """The golden outputs of the model at export are replaced by others."""

    def shift(golden: Golden) -> Golden:
        outputs = golden.model_outputs["fp32"]
        moved = replace(outputs, probabilities=np.roll(outputs.probabilities, 1, axis=1))
        return replace(golden, model_outputs={"fp32": moved})

    change_golden(export, shift)
    failures = verify(export / "model.fp32.onnx").failures
    assert len(failures) == 1
    assert failures[0].startswith("against its own outputs at export, max |dp| is ")


def test_missing_golden_file_is_reported(export: Path) -> None:
    (export / FILE_NAME).unlink()
    result = CliRunner().invoke(main, ["verify", "runs/tiny"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: expected the model's golden inputs at 'runs/tiny/export/golden.npz', found none; copy golden.npz from "
        "the export folder with the model, or name it with --golden\n"
    )


def test_golden_file_elsewhere_is_named(export: Path, tmp_path: Path) -> None:
    (export / FILE_NAME).rename(tmp_path / "answers.npz")
    result = CliRunner().invoke(main, ["verify", "--golden", str(tmp_path / "answers.npz")])
    assert result.exit_code == 0, result.output


def test_golden_file_of_another_model_is_reported(export: Path) -> None:
    change_golden(export, lambda golden: replace(golden, checkpoint_sha256="ab" * 32))
    with pytest.raises(ModelError, match=r"found those of abababababab in .*: they belong to another model; copy "):
        verify(export / "model.fp32.onnx")


def test_golden_file_of_an_export_without_this_precision_is_reported(export: Path) -> None:
    change_golden(
        export,
        lambda golden: replace(golden, model_outputs={"int8": golden.outputs}, model_sha256={"int8": "cd" * 32}),
    )
    with pytest.raises(ModelError, match=r"^expected outputs of the fp32 model in .*, found those of int8: they "):
        verify(export / "model.fp32.onnx")


def test_golden_file_of_an_earlier_release_asks_for_another_export(export: Path) -> None:
    change_golden(export, lambda golden: replace(golden, model_outputs={}, model_sha256={}))
    with pytest.raises(ModelError, match=r"found those of no model: they belong to another export of the run"):
        verify(export / "model.fp32.onnx")


def test_golden_pixels_of_another_size_are_reported(export: Path) -> None:
    change_golden(export, lambda golden: replace(golden, pixels=golden.pixels[:, :32, :32]))
    with pytest.raises(ModelError, match=r"^expected golden pixels of 64 x 64, found \[8, 32, 32, 3\] in "):
        verify(export / "model.fp32.onnx")


def test_damaged_golden_file_is_reported(export: Path) -> None:
    for data in (b"PK\x03\x04 cut off", b"no archive at all", b""):
        (export / FILE_NAME).write_bytes(data)
        with pytest.raises(ModelError, match=r"^expected golden inputs in .*; export the model again$") as caught:
            verify(export / "model.fp32.onnx")
        assert "pickle" not in str(caught.value)
        assert "unsafe" not in str(caught.value)


def test_model_is_found_in_a_folder_that_was_copied_to_a_device(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "device")
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "device")])
    assert result.exit_code == 0, result.output


def test_missing_provider_is_rejected(export: Path) -> None:
    result = CliRunner().invoke(main, ["verify", "--provider", "cuda"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: the provider 'cuda' ")


def test_provider_that_no_model_runs_on_is_one_error(export: Path) -> None:
    (export / "model.fp16.onnx").write_bytes((export / "model.fp32.onnx").read_bytes())
    result = CliRunner().invoke(main, ["verify", "--provider", "openvino"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: the provider 'openvino' needs OpenVINOExecutionProvider")
    assert len(result.stderr.splitlines()) == 1
    document = json.loads(CliRunner().invoke(main, ["verify", "--provider", "openvino", "--json"]).stdout)
    assert (document["verified"], len(document["models"])) == (False, 2)


def test_provider_that_runs_one_model_is_not_an_error_of_all(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (export / "model.fp16.onnx").write_bytes((export / "model.fp32.onnx").read_bytes())

    def half(path: Path, **options: object) -> Verification:
        if path.name == "model.fp32.onnx":
            raise ProviderError("the provider 'cuda' started, and left 1 of the model's 53 convolutions to the CPU")
        return verify(export / "model.fp32.onnx")

    monkeypatch.setattr("ctonnx.prediction.verification.verify", half)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 2
    assert "NOT VERIFIED: the provider 'cuda' started" in result.stdout.splitlines()[1]
    assert result.stdout.splitlines()[-1] == "  verified"


def test_missing_model_is_reported_before_its_golden_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["verify", "nope.onnx"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: expected an .onnx file, found no file at 'nope.onnx'; see which there are: ls runs/*/export\n"
    )


def test_device_passes_if_the_exporting_machine_broke_the_same_bound(export: Path) -> None:
    """PyTorch's output for one golden input is replaced, so that the model exceeded its bound at export, too."""

    def disagree(golden: Golden) -> Golden:
        flipped = golden.outputs.probabilities.copy()
        flipped[0] = np.roll(flipped[0], 1)
        return replace(golden, outputs=replace(golden.outputs, probabilities=flipped))

    change_golden(export, disagree)
    result = verify(export / "model.fp32.onnx")
    assert result.with_pytorch.max_dp > 1e-4
    assert result.failures == ()
    assert result.pytorch_gate.max_dp == 1


def pass_for_int8(export: Path, change: Callable[[Outputs], Outputs]) -> Path:
    """Declares the model as INT8, and replaces PyTorch's golden outputs by `change` of its own."""
    file = export / "model.fp32.onnx"
    loaded = onnx.load(file)
    spec = json.loads(loaded.metadata_props[0].value)
    loaded.metadata_props[0].value = json.dumps({**spec, "precision": "int8"})
    onnx.save(loaded, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    change_golden(
        export,
        lambda golden: replace(
            golden,
            outputs=change(golden.model_outputs["fp32"]),
            model_outputs={"int8": golden.model_outputs["fp32"]},
            model_sha256={"int8": digest},
        ),
    )
    return file


def flipped(outputs: Outputs) -> Outputs:
    """Returns the outputs with another top-1 class for the first image."""
    probabilities = outputs.probabilities.copy()
    probabilities[0] = np.roll(probabilities[0], 1)
    return replace(outputs, probabilities=probabilities)


def test_reason_is_shown_if_no_golden_input_may_differ(export: Path) -> None:
    file = pass_for_int8(export, lambda outputs: outputs)
    result = verify(file)
    assert (result.disagreements, result.disagreements_allowed, result.failures) == (0, 0, ())
    line = "  another top-1 class than PyTorch's: 0 of 8 images, at most 0 allowed, as 99 % of 8 are all of them"
    assert line in CliRunner().invoke(main, ["verify"]).stdout.splitlines()
    facts = json.loads(CliRunner().invoke(main, ["verify", "--json"]).stdout)["models"][0]
    assert (facts["disagreements"], facts["disagreements_allowed"]) == (0, 0)
    assert facts["allowed_because"] == "99 % of 8 are all of them"


def test_golden_input_that_differed_at_the_export_may_differ_here_and_no_other(export: Path) -> None:
    file = pass_for_int8(export, flipped)
    result = verify(file)
    assert (result.disagreements, result.disagreements_allowed, result.failures) == (1, 1, ())
    printed = CliRunner().invoke(main, ["verify"]).stdout
    assert (
        "1 of 8 images, at most 1 allowed, as that many differed on the exporting machine, and its gate of 99 % was"
        in said
    )
    assert ">= 87.50%" in printed
    change_golden(
        export, lambda golden: replace(golden, model_outputs={"int8": golden.outputs})
    )  # there all agreed: the one is this device's
    failures = verify(file).failures
    assert failures[0] == "against PyTorch, agreement is 87.50%, at least 99.00% is required"


def test_document_of_outputs_that_are_not_finite_is_json(export: Path) -> None:
    alter_weight(export / "model.fp32.onnx", float("nan"))
    result = CliRunner().invoke(main, ["verify", "--json"])
    assert result.exit_code == 1

    def reject(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (facts,) = json.loads(result.stdout, parse_constant=reject)["models"]
    assert facts["with_pytorch"]["max_dp"] is None
    assert any("max |dp| is nan" in failure for failure in facts["failures"])
