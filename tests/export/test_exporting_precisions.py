"""FP16 and INT8 in the export folder: there when they agree, told of when they do not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from ctonnx.cli import main
from ctonnx.errors import DataError
from ctonnx.golden import load_golden
from ctonnx.images import Preprocessing
from ctonnx.parity import GATES, Gate
from ctonnx.predictor import Predictor
from ctonnx.runs import Run, find_model
from ctonnx.verification import verify
from ctonnx_export import making
from ctonnx_export.conversion import convert
from ctonnx_export.exporting import ExportResult, export_run
from ctonnx_export.half import to_half
from ctonnx_export.making import Precision, Quantization
from ctonnx_export.ranges import CALIBRATORS
from ctonnx_train.recipe import TrainSettings
from ctonnx_train.training import train

pytestmark = pytest.mark.usefixtures("small_network")

ALL: tuple[Precision, ...] = ("fp32", "fp16", "int8")
LOOSE = Gate(max_dp=1.0, min_agreement=0.0)


@contextmanager
def two_threads() -> Iterator[None]:
    """Lets PyTorch compute in more than one thread, which must not change a byte from one export to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(small_network: None, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = TrainSettings(weights="none", epochs=2, batch_size=4, precision="fp32")
    root = tmp_path_factory.mktemp("small") / "runs"
    return train(phantoms, settings=settings, preprocessing=Preprocessing(size=64), name="small", root=root).run


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """All precisions, made with gates that a network of two epochs passes."""
    with two_threads(), pytest.MonkeyPatch.context() as patch:
        for precision in ("fp16", "int8"):
            patch.setitem(GATES, precision, LOOSE)
        return export_run(
            run,
            precisions=ALL,
            quantization=Quantization(samples=8),
            output=tmp_path_factory.mktemp("exported") / "export",
        )


@pytest.fixture(scope="module")
def converted(exported: ExportResult) -> list[onnx.ModelProto]:
    """What converting the run's network gave first, once it did."""
    return []


@pytest.fixture(autouse=True)
def converted_once(converted: list[onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts the run's network, which all tests here export, once for all of them: it takes most of their time."""

    def once(graph: Any, size: int) -> onnx.ModelProto:
        if not converted:
            converted.append(convert(graph, size))
        model = onnx.ModelProto()
        model.CopyFrom(converted[0])
        return model

    monkeypatch.setattr(making, "convert", once)


def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the search, whose whole way is walked in test_search.py, try one calibrator and leave out one layer."""
    monkeypatch.setattr("ctonnx_export.search.CALIBRATORS", CALIBRATORS[:1])
    monkeypatch.setattr("ctonnx_export.search._MOST_EXCLUDED", 1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_holds_a_model_of_each_precision(exported: ExportResult) -> None:
    models = [f"model.{precision}.onnx" for precision in sorted(ALL)]
    assert names(exported.folder) == ["README.md", "golden.npz", *models, "report.json", "report.md"]
    sizes = {made.precision: exported.file(made).stat().st_size for made in exported.models}
    assert sizes["int8"] < 0.45 * sizes["fp32"]
    assert sizes["fp16"] < 0.65 * sizes["fp32"]


def test_each_model_says_what_it_is(exported: ExportResult) -> None:
    for made in exported.models:
        with Predictor(exported.file(made)) as predictor:
            assert predictor.spec == made.spec
            assert predictor.spec.precision == made.precision
    quantization = exported.models[2].spec.quantization
    assert quantization is not None
    assert quantization["calibration"] == {
        "images": 8,
        "asked_for": 8,
        "blank": 0,
        "foreign": False,
        "of": "the run's training images",
    }
    assert [made.spec.gate and made.spec.gate["max_dp"] for made in exported.models] == [1e-4, 1.0, 1.0]
    assert (quantization["target"], quantization["activations"], quantization["residual_adds"]) == (
        "x86",
        "uint8",
        "integer",
    )


def test_judged_on_validation_images_and_on_training_images_that_calibration_did_not_use(
    exported: ExportResult,
) -> None:
    for made in exported.models[1:]:
        assert made.trial is not None
        assert made.trial.parity.images == 8 + (16 - 8)
        assert made.trial.validation is not None
        assert made.trial.validation.images == 8


def test_report_tells_what_was_tried(exported: ExportResult) -> None:
    facts = json.loads((exported.folder / "report.json").read_text())["precisions"]["int8"]
    assert len(facts["attempts"]) == 6
    assert {"calibrator", "residual_adds", "parity", "accuracy", "milliseconds", "bytes"} <= set(facts["attempts"][0])
    text = (exported.folder / "report.md").read_text()
    assert "| | FP32 | FP16 | INT8 |" in text.replace("|  |", "| |")
    assert "| calibrator | adds | float layers | agreement | mean \\|dp\\| |" in text
    tried = ("| minmax", "| moving", "| percentile", "| entropy")
    assert sum(line.startswith(tried) for line in text.splitlines()) == 6
    assert f"bias corrected on {facts['calibration']['images']} of them" in text
    changed = facts["changed_suspicion"]
    assert f"| no longer suspicious, newly suspicious | - | 0, 0 | {changed['lost']}, {changed['gained']} |" in text


def test_all_models_verify_and_the_cpu_takes_int8(exported: ExportResult) -> None:
    assert find_model(exported.folder).name == "model.int8.onnx"
    assert find_model(exported.folder, provider="cuda").name == "model.fp16.onnx"
    for made in exported.models:
        result = verify(exported.file(made))
        assert result.failures == ()
        assert result.with_export.max_dp < 1e-3
    golden = load_golden(exported.folder / "golden.npz")
    assert list(golden.answers) == list(ALL)


def test_second_export_gives_the_same_models_byte_for_byte(
    run: Run, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "convert", convert)
    for precision in ("fp16", "int8"):
        monkeypatch.setitem(GATES, precision, LOOSE)
    with two_threads():
        again = export_run(run, precisions=ALL, quantization=Quantization(samples=8), output=tmp_path / "again")
    for name in ("model.fp32.onnx", "model.fp16.onnx", "model.int8.onnx", "golden.npz", "README.md"):
        assert (again.folder / name).read_bytes() == (exported.folder / name).read_bytes(), name


def test_int8_that_does_not_pass_is_not_written_and_the_report_says_why(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    monkeypatch.setitem(GATES, "int8", Gate(max_dp=-1.0, min_agreement=0.0))
    short_search(monkeypatch)
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "export"
    command = ["export", str(run.folder), "--precision", "all", "--samples", "8", "--output", str(output)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: int8 was refused: max |dp| is ")
    assert result.stderr.endswith(f"It was not written; what to try stands in {output / 'report.md'}\n")
    assert "model.int8.onnx" not in names(output)
    assert "model.fp16.onnx" in names(output)
    text = (output / "report.md").read_text()
    assert "**INT8 was refused and not written**: max |dp| is " in text
    assert "`--samples`" in text
    assert json.loads((output / "report.json").read_text())["precisions"]["int8"]["passed"] is False
    assert list(load_golden(output / "golden.npz").answers) == ["fp32", "fp16"]
    assert find_model(output).name == "model.fp32.onnx"


def test_agreement_and_drop_can_be_demanded(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    result = export_run(run, precisions=["fp16"], output=tmp_path / "export", min_agreement=0.75, max_drop=0.25)
    gate = result.models[1].gate
    assert (gate.min_agreement, gate.max_drop) == (0.75, 0.25)
    assert GATES["fp16"].min_agreement == 0.0


def with_nan(half: onnx.ModelProto) -> onnx.ModelProto:
    """Plants a NaN in one of the weights in half precision."""
    weight = next(weight for weight in half.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT16)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return half


def test_nan_in_fp16_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "to_half", lambda model, overflowing: with_nan(to_half(model)))
    result = export_run(run, precisions=["fp16"], output=tmp_path / "export")
    (refused,) = result.refused
    assert refused.precision == "fp16"
    assert refused.failures[0] == "max |dp| is nan, at most 0.005 is allowed"
    assert "model.fp16.onnx" not in names(result.folder)


def test_temperature_of_the_run_stands_in_the_graph(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "convert", convert)  # anew, as it is not the graph of the other tests
    shutil.copytree(run.folder, tmp_path / "warm")
    warm = Run(tmp_path / "warm")
    record = json.loads(warm.record_file.read_text(encoding="utf-8")) | {"temperature": 1.5}
    warm.record_file.write_text(json.dumps(record), encoding="utf-8")
    export_run(warm)
    pixels = load_golden(warm.export_folder / "golden.npz").pixels
    with Predictor(warm.model_file("fp32")) as predictor:
        outputs = predictor.predict_pixels(pixels)
    logits = torch.from_numpy(outputs.logits)
    np.testing.assert_allclose(outputs.probabilities, (logits / 1.5).softmax(1).numpy(), rtol=0, atol=1e-6)
    assert np.abs(outputs.probabilities - logits.softmax(1).numpy()).max() > 1e-4


def test_run_without_its_training_folder_says_what_to_name(run: Run, phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms / "valid", tmp_path / "data/valid")
    with pytest.raises(DataError, match=r"^expected the run's 16 training images in '.*' to calibrate on, found none"):
        export_run(run, precisions=["int8"], data=tmp_path / "data", output=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_other_images_calibrate_and_fewer_than_asked_for_are_told(
    run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", LOOSE)
    shutil.copytree(phantoms / "valid", tmp_path / "data/valid")
    said: list[str] = []
    result = export_run(
        run,
        precisions=["int8"],
        data=tmp_path / "data",
        output=tmp_path / "export",
        quantization=Quantization(calibrate=phantoms / "test", samples=20),
        say=said.append,
    )
    assert "calibrating on 8 images, 12 fewer than asked for: all there are" in said
    assert "comparing on 8 images: 8 for validation, 0 for training that calibration does not use" in said
    quantization = result.models[1].spec.quantization
    assert quantization is not None
    assert quantization["calibration"] == {"images": 8, "asked_for": 20, "blank": 0, "foreign": True, "of": "test"}


def stem_of(model: onnx.ModelProto) -> list[str]:
    """Returns the kinds of the nodes from the pixels to the first convolution, without those that quantize."""
    made_by = {node.output[0]: node for node in model.graph.node}
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    kinds = [node.op_type]
    while before := made_by.get(node.input[0]):
        kinds.insert(0, before.op_type)
        node = before
    return [kind for kind in kinds if kind not in ("QuantizeLinear", "DequantizeLinear")]


def test_pixels_take_a_shorter_way_into_int8(exported: ExportResult) -> None:
    stems = [stem_of(onnx.load(exported.file(made))) for made in exported.models]
    fp32, _, int8 = stems
    assert fp32 == ["Transpose", "Cast", "Sub", "Div", "Conv"]
    assert int8 == ["Reshape", "Transpose", "Reshape", "Cast", "Sub", "Transpose", "Conv"]


@pytest.mark.parametrize(
    ("options", "amx", "told"),
    [
        (("--precision", "int8"), True, True),
        (("--precision", "int8"), False, False),
        (("--precision", "int8", "--target", "amx"), True, False),
        ((), True, False),
    ],
)
def test_target_of_a_processor_with_amx_is_named(
    options: tuple[str, ...], amx: bool, told: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", LOOSE)
    monkeypatch.setattr("ctonnx.machine.has_amx", lambda: amx)
    short_search(monkeypatch)
    samples = ("--samples", "8") if options else ()
    result = CliRunner().invoke(
        main, ["export", str(run.folder), *options, *samples, "--output", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    line = "this processor has AMX: INT8 of --target amx, made of the same images, gives the same answers, faster"
    assert (line in result.stdout.splitlines()) is told


def test_triton_repository_is_written_beside_the_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    command = ["export", str(run.folder), "--precision", "fp16", "--output", str(tmp_path / "export")]
    result = CliRunner().invoke(main, [*command, "--triton", str(tmp_path / "models")])
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "models") == ["small_fp16", "small_fp32"]
    again = CliRunner().invoke(main, [*command, "--triton", str(tmp_path / "models")])
    assert again.exit_code == 2
    assert "found files in it; choose another --triton" in again.stderr


@pytest.mark.parametrize(("output", "triton"), [("out", "out"), ("out", "out/models"), ("models/out", "models")])
def test_triton_repository_within_the_export_is_refused_before_the_work(
    output: str, triton: str, run: Run, tmp_path: Path
) -> None:
    command = ["export", str(run.folder), "--output", str(tmp_path / output), "--triton", str(tmp_path / triton)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: expected the model repository and the export in folders beside each other, found --triton "
        f"'{tmp_path / triton}' and the export in '{tmp_path / output}'; choose another --triton\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precisions", ["int8", ["int4"]])
def test_unknown_precision_is_refused_by_the_library_too(precisions: list[Any], run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected precisions to be of"):
        export_run(run, precisions=precisions, output=tmp_path / "export")


def test_earlier_int8_that_an_export_would_remove_is_told(run: Run, exported: ExportResult, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "export")
    said: list[str] = []
    export_run(run, output=tmp_path / "export", say=said.append)
    assert said[0] == (
        f"note: '{tmp_path / 'export'}' holds an earlier export, whose place this one will take; model.fp16.onnx is "
        "not asked for and goes then; keep it with --precision fp16, or choose another --output"
    )
    assert said[1] == said[0].replace("fp16", "int8")
    assert names(tmp_path / "export") == ["README.md", "golden.npz", "model.fp32.onnx", "report.json", "report.md"]


def test_tuning_of_an_earlier_model_goes_with_it(run: Run, exported: ExportResult, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "export")
    (tmp_path / "export/model.fp32.tuned.json").write_text("{}")
    export_run(run, output=tmp_path / "export")
    assert names(tmp_path / "export") == ["README.md", "golden.npz", "model.fp32.onnx", "report.json", "report.md"]


def test_refused_model_leaves_an_earlier_export_that_has_one_as_it_was(
    run: Run, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, triton = tmp_path / "export", tmp_path / "models"
    shutil.copytree(exported.folder, output)
    monkeypatch.setitem(GATES, "int8", Gate(max_dp=-1.0, min_agreement=0.0))
    short_search(monkeypatch)
    monkeypatch.chdir(tmp_path)
    command = ["export", str(run.folder), "--precision", "int8", "--samples", "8", "--output", str(output)]
    result = CliRunner().invoke(main, [*command, "--triton", str(triton)])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        f". Nothing was written: the earlier export in '{output}', which has such a model, stays as it was; for the "
        f"models that passed choose another --output; what to try stands in {output / 'refused.md'}"
    )
    assert result.stdout == ""
    assert not triton.exists()
    assert names(output) == sorted([*names(exported.folder), "refused.json", "refused.md"])
    for file in exported.folder.iterdir():
        assert (output / file.name).read_bytes() == file.read_bytes()
    text = (output / "refused.md").read_text()
    assert "**INT8 was refused and not written**: max |dp| is " in text
    assert text.splitlines()[2] == (
        "**Nothing of this export was written: the earlier one in this folder stays as it was.**"
    )
    assert json.loads((output / "refused.json").read_text())["files"] == {}
    assert verify(output / "model.int8.onnx").failures == ()
    monkeypatch.setitem(GATES, "int8", LOOSE)
    assert CliRunner().invoke(main, command).exit_code == 0
    assert "refused.md" not in names(output)


def test_report_of_a_nan_is_json(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "to_half", lambda model, overflowing: with_nan(to_half(model)))
    result = export_run(run, precisions=["fp16"], output=tmp_path / "export")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    facts = json.loads((result.folder / "report.json").read_text(), parse_constant=refuse)
    assert facts["precisions"]["fp16"]["parity"]["max_dp"] is None
    assert "| max \\|dp\\| | " in (result.folder / "report.md").read_text()
