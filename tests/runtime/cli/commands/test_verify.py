"""`ctonnx verify`: a table or JSON document for each model, and the exit code."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from tests.runtime.changed_exports import alter_weight, change_golden, flipped, pass_for_int8

from ctonnx.artifacts.golden import FILE_NAME, Golden
from ctonnx.cli.main import main
from ctonnx.errors import ProviderError
from ctonnx.inference.session import open_session
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction.device.verification import Verification, verify


def test_command_verifies_the_newest_run_and_prints_the_parity(export: Path) -> None:
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "runs/tiny/export/model.fp32.onnx: fp32 on cpu, 8 golden inputs"
    assert lines[1].split() == ["against", "PyTorch", "limit", "its", "export", "limit"]
    assert lines[2].split() == ["top-1", "agreement", "100.00%", "-", "100.00%", "-"]
    assert lines[3].startswith("  max |dp| ")
    assert lines[3].count("<= 0.0001") == 2
    assert [line.split()[:2] for line in lines[7:10]] == [
        *(["novelty", "rank"], ["novelty", "difference"], ["flagged", "alike"])
    ]
    assert lines[8].count("<= 0.001") == 2
    assert lines[9].count("100.00%") == 2
    assert lines[10:12] == [
        "  max |dp|: the largest absolute difference of any class's probability over the compared images",
        "  another top-1 class than PyTorch's: 0 of 8 images, any number allowed, as its gate has only a bound on "
        "max |dp|",
    ]
    assert lines[-1] == "  verified"


def test_provider_that_computes_in_fp16_is_named_with_it(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        predictor_module, "open_session", lambda path, provider, **options: open_session(path, **options)
    )
    result = CliRunner().invoke(main, ["verify", "--provider", "qnn"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "runs/tiny/export/model.fp32.onnx: fp32 on qnn, which computes in fp16, 8 golden inputs"
    assert lines[3].count("<= 0.005") == 2
    found = json.loads(CliRunner().invoke(main, ["verify", "--provider", "qnn", "--json"]).stdout)
    assert found["models"][0]["computed_in"] == "fp16"


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
    assert result.stderr.startswith("Error: the provider 'openvino' does not run here: its plugin ")
    assert len(result.stderr.splitlines()) == 1
    document = json.loads(CliRunner().invoke(main, ["verify", "--provider", "openvino", "--json"]).stdout)
    assert (document["verified"], len(document["models"])) == (False, 2)


def test_provider_that_runs_one_model_is_not_an_error_of_all(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (export / "model.fp16.onnx").write_bytes((export / "model.fp32.onnx").read_bytes())

    def half(path: Path, **options: object) -> Verification:
        if path.name == "model.fp32.onnx":
            raise ProviderError("the provider 'cuda' started, and left 1 of the model's 53 convolutions to the CPU")
        return verify(export / "model.fp32.onnx")

    monkeypatch.setattr("ctonnx.prediction.device.verification.verify", half)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 2
    assert "NOT VERIFIED: the provider 'cuda' started" in result.stdout.splitlines()[1]
    assert result.stdout.splitlines()[-1] == "  verified"


def test_missing_model_is_reported_before_its_golden_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["verify", "nope.onnx"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: expected an .onnx file, found no file at 'nope.onnx'; list them with: ls runs/*/export\n"
    )


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
        in printed
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
