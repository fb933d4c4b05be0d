"""`verify`: an unchanged export passes, and changed, missing or mixed-up files are reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.changed_exports import alter_weight, change_golden

from ctonnx.artifacts.golden import FILE_NAME, Golden
from ctonnx.errors import CheckFailed, ModelError
from ctonnx.inference.providers import Provider
from ctonnx.inference.session import open_session
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction.device.verification import verify


def test_unchanged_export_verifies(export: Path) -> None:
    result = verify(export / "model.fp32.onnx")
    assert result.failures == ()
    assert (result.precision, result.provider, result.with_pytorch.images) == ("fp32", "cpu", 8)
    assert result.with_pytorch.max_dp <= 1e-4
    assert result.with_export.max_dp <= 1e-6


def test_truncated_file_was_changed(export: Path) -> None:
    data = (export / "model.fp32.onnx").read_bytes()
    (export / "model.fp32.onnx").write_bytes(data[:1000])
    with pytest.raises(CheckFailed, match=r"was changed since its export.*cannot be replayed"):
        verify(export / "model.fp32.onnx")


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


@pytest.mark.parametrize(("shift", "failing"), [(1e-3, 0), (0.01, 2)])
@pytest.mark.parametrize("provider", ["qnn", "openvino:npu"])
def test_provider_that_computes_in_fp16_has_the_tolerance_of_fp16(
    provider: Provider, shift: float, failing: int, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session is one of the CPU, and all golden probabilities differ from its own by the same amount."""
    monkeypatch.setattr(
        predictor_module, "open_session", lambda path, provider, **options: open_session(path, **options)
    )

    def move(outputs: Outputs) -> Outputs:
        return replace(outputs, probabilities=outputs.probabilities + np.float32(shift))

    change_golden(
        export,
        lambda golden: replace(
            golden,
            outputs=move(golden.outputs),
            model_outputs={"fp32": move(golden.model_outputs["fp32"])},
        ),
    )
    result = verify(export / "model.fp32.onnx", provider=provider)
    assert (result.precision, result.computed_in, len(result.failures)) == ("fp32", "fp16", failing)
    assert result.pytorch_gate.max_dp == result.export_gate.max_dp == 5e-3
    strict = verify(export / "model.fp32.onnx")
    assert (strict.computed_in, len(strict.failures)) == ("fp32", 2)


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
