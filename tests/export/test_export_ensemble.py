"""The networks of a run's folds, exported as one model."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.conftest import once
from tests.export.conftest import ALL, FOLDS, LOOSE, short_search, two_threads

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx_export import models
from ctonnx_export.export import ExportResult, export_run
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_pytorch
from ctonnx_export.graph.simplification import simplify
from ctonnx_export.image_sets import choose_images
from ctonnx_export.quantization.settings import Quantization
from ctonnx_train.recalibration.temperature import replace_temperature
from ctonnx_train.runs.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def exported(folds_run: Run, shared_folder: Path) -> tuple[ExportResult, list[str]]:
    """The ensemble of the run in folds in all precisions, made with loose gates, and the export's messages."""
    lines: list[str] = []
    file = shared_folder / "folds/export.pickle"
    with once(shared_folder, "export of an ensemble") as missing:
        if missing:
            with two_threads(), pytest.MonkeyPatch.context() as patch:
                for precision in ("fp16", "int8"):
                    patch.setitem(GATES, precision, LOOSE)
                short_search(patch)
                patch.setattr(models, "simplify", simplify)  # onnxsim joins products of the networks
                result = export_run(
                    folds_run,
                    precisions=ALL,
                    quantization=Quantization(samples=8),
                    output=shared_folder / "folds/export",
                    ensemble=True,
                    log=lines.append,
                )
            file.write_bytes(pickle.dumps((result, lines)))
    found: tuple[ExportResult, list[str]] = pickle.loads(file.read_bytes())  # noqa: S301 - these tests made it
    return found


def test_the_model_has_the_mean_of_the_folds_networks(folds_run: Run, exported: tuple[ExportResult, list[str]]) -> None:
    result, lines = exported
    golden = load_golden(result.folder / "golden.npz")
    record = load_checkpoint(folds_run).record
    folds = [load_checkpoint(Run(folds_run.folder / "folds" / str(number))) for number in (1, 2, 3)]
    outputs = [
        run_pytorch(DeployGraph(fold.network, record.temperature, fold.novelty), [golden.pixels]) for fold in folds
    ]
    assert np.ptp([of.probabilities for of in outputs], axis=0).max() > 1e-4  # they differ
    mean = np.mean([of.probabilities for of in outputs], axis=0)
    np.testing.assert_allclose(golden.outputs.probabilities, mean, atol=1e-6)
    novelty = np.mean([of.novelty for of in outputs if of.novelty is not None], axis=0)
    assert golden.outputs.novelty is not None
    np.testing.assert_allclose(golden.outputs.novelty, novelty, rtol=1e-5)
    assert [model.precision for model in result.written] == list(ALL)
    for model in result.written:
        assert model.spec.networks == FOLDS
        assert model.spec.temperature == 1
        assert model.spec.operating_point == record.operating_point
        assert verify(result.file(model)).failures == ()
    assert result.written[0].facts["onnxsim"] == "simplified"
    assert any(line.startswith("3 networks as one graph: up to 3 times the computation") for line in lines)


def test_its_test_metrics_are_those_of_the_mean(
    folds_run: Run, exported: tuple[ExportResult, list[str]], phantoms: Path
) -> None:
    fp32 = exported[0].written[0]
    record, samples = load_checkpoint(folds_run).record, load_checkpoint(folds_run).samples("test")
    found = list(Predictor(exported[0].file(fp32)).predict_many([phantoms / sample.path for sample in samples]))
    right = [
        isinstance(of, Prediction) and of.label == record.classes[sample.label]
        for of, sample in zip(found, samples, strict=True)
    ]
    assert fp32.spec.metrics["test"]["accuracy"] == pytest.approx(np.mean(right))
    assert record.ensemble_metrics is not None
    assert fp32.spec.metrics["test"] == record.ensemble_metrics["test"]
    assert fp32.spec.metrics["valid"] == record.metrics["valid"]


def test_every_networks_convolutions_are_in_integers(exported: tuple[ExportResult, list[str]]) -> None:
    fp32, _, int8 = exported[0].written
    convolutions = [node for node in int8.model.graph.node if node.op_type == "Conv"]
    made_by = {name: node.op_type for node in int8.model.graph.node for name in node.output}
    in_integers = [node for node in convolutions if made_by.get(node.input[1]) == "DequantizeLinear"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in fp32.model.graph.node)
    assert len(convolutions) % FOLDS == 0
    assert len(in_integers) == len(convolutions) - len((int8.spec.quantization or {})["layers_in_float"])


def test_its_card_states_what_it_is_and_costs(exported: tuple[ExportResult, list[str]]) -> None:
    card = (exported[0].folder / "README.md").read_text(encoding="utf-8")
    assert "An ensemble of 3 ResNet50s, with up to 3 times the computation of one" in card
    assert "The test metrics are those of the mean." in card


def test_its_temperature_can_be_fitted_again(exported: tuple[ExportResult, list[str]]) -> None:
    model = exported[0].written[0].model
    changed = replace_temperature(model, 2.0)
    assert "ctonnx.temperature" in {weight.name for weight in changed.graph.initializer}
    onnx.checker.check_model(changed, full_check=True)


def test_few_images_are_in_memory_at_the_same_time(
    exported: tuple[ExportResult, list[str]], small_export: ExportResult
) -> None:
    assert models._few(exported[0].written[0]) == 1
    assert models._few(small_export.written[0]) == 4


def test_images_that_calibrate_a_run_in_folds_are_not_compared(folds_run: Run, phantoms: Path) -> None:
    """Its validation images are its training images."""
    checkpoint = load_checkpoint(folds_run)
    images = choose_images(checkpoint, phantoms, ALL, samples=300, log=lambda line: None)
    validation, held_out = images.compared
    assert images.calibration is not None
    parts = [set(part.samples) for part in (validation, images.calibration, held_out)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert set.union(*parts) == set(checkpoint.samples("train"))
    assert set(validation.labels.tolist()) == {0, 1, 2, 3}


def test_the_report_states_that_the_compared_images_trained_the_model(exported: tuple[ExportResult, list[str]]) -> None:
    assert "the images that the files are compared on trained the model, too" in exported[0].report.read_text("utf-8")


@pytest.mark.usefixtures("converted_once")
def test_one_network_that_replaces_an_ensemble_is_announced(
    small_run: Run, exported: tuple[ExportResult, list[str]], tmp_path: Path
) -> None:
    lines: list[str] = []
    output = shutil.copytree(exported[0].folder, tmp_path / "export")
    export_run(small_run, output=output, log=lines.append)
    assert any(line.startswith("note: this export of 1 network replaces the earlier one of 3 in ") for line in lines)
