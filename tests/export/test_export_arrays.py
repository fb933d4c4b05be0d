"""Export of a run that was trained on a MedMNIST `.npz` file."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import each_network_converted_once, empty_plots

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx_export.export import export_run
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import train

pytestmark = pytest.mark.usefixtures("small_network", "_each_network_converted_once")


@pytest.fixture(scope="module")
def _each_network_converted_once() -> Iterator[None]:
    with each_network_converted_once():
        yield


def arrays(*shape: int) -> dict[str, Any]:
    """Returns a dataset of two classes: eight training images and four of each other split, with a copy among them."""
    generator = np.random.default_rng(3)
    images = {"train": 8, "val": 4, "test": 4}
    made: dict[str, Any] = {
        f"{split}_images": generator.integers(0, 256, (count, *shape), np.uint8) for split, count in images.items()
    }
    made |= {f"{split}_labels": np.arange(count)[:, None] % 2 for split, count in images.items()}
    made["val_images"][3] = made["train_images"][1]
    return made


def trained(folder: Path, *shape: int, color: Any) -> Run:
    """Trains a run on folder/nodules.npz for one epoch."""
    file = folder / "nodules.npz"
    np.savez(file, **arrays(*shape))
    with empty_plots():
        return train(
            file,
            settings=TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32"),
            preprocessing=Preprocessing(size=32, color=color),
            class_names={"0": "normal", "1": "nodule"},
            name="nodules",
            root=folder / "runs",
        ).run


@pytest.fixture(scope="module")
def run(small_network: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was trained on grey images."""
    return trained(tmp_path_factory.mktemp("grey"), 28, 28, color="grey")


def assert_predictions_for(run: Run, output: Path, images: Any, color: Any) -> None:
    """Exports a run and checks that the golden pixels, and the model's predictions, are those of the images."""
    result = export_run(run, output=output)
    (fp32,) = result.models
    assert fp32.spec.parity["images"] == len(images)
    golden = load_golden(output / "golden.npz")
    preprocessing = Preprocessing(size=32, color=color)
    np.testing.assert_array_equal(golden.pixels, np.stack([to_pixels(load(image), preprocessing) for image in images]))
    with Predictor(result.file(fp32)) as predictor:
        predictions = list(predictor.predict_many(images))
    for prediction, expected in zip(predictions, golden.outputs.logits, strict=True):
        assert isinstance(prediction, Prediction)
        np.testing.assert_allclose(prediction.logits, expected, rtol=0, atol=1e-4)


def test_grey_images_are_found_in_the_file_that_the_run_was_trained_on(run: Run, tmp_path: Path) -> None:
    assert_predictions_for(run, tmp_path / "export", arrays(28, 28)["val_images"], "grey")


def test_colour_images_are_found_in_the_file_that_the_run_was_trained_on(tmp_path: Path) -> None:
    colour = trained(tmp_path, 28, 28, 3, color="rgb")
    assert_predictions_for(colour, tmp_path / "export", arrays(28, 28, 3)["val_images"], "rgb")


def test_file_that_moved_is_found_with_data_and_its_copies_are_reported(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "moved.npz", **arrays(28, 28))
    result = export_run(run, data=tmp_path / "moved.npz", output=tmp_path / "export")
    spec = result.models[0].spec
    assert spec.classes == ("normal", "nodule")
    assert spec.data["name"] == "nodules"
    assert spec.data["leaks"]["leaked"] == {"valid": 1, "test": 0}
    assert spec.operating_point is not None
    assert spec.operating_point.positive == ("nodule",)
    text = (result.folder / "report.md").read_text()
    assert "on `nodules` |\n" in text
    assert "| of these, across splits | 1 (2 files) |" in text
    assert "| files that leaked from an earlier split | test 0, valid 1 |" in text


def test_missing_file_is_reported_with_the_option_to_name_it(run: Run, tmp_path: Path) -> None:
    lost = Run(tmp_path / "lost")
    shutil.copytree(run.folder, lost.folder)
    gone = tmp_path / "gone.npz"
    file = str(run.folder.parent.parent / "nodules.npz")
    lost.record_file.write_text(lost.record_file.read_text().replace(file, str(gone)))
    with pytest.raises(DataError) as caught:
        export_run(lost)
    assert str(caught.value) == (
        f"expected the run's 4 validation images in '{gone}', found 4 missing ('val_images/0' first); "
        "name the folder or file that contains them with --data"
    )
    assert not lost.export_folder.exists()


def test_file_that_is_not_the_one_trained_on_is_rejected(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    given = arrays(28, 28)
    np.savez(other, **{**given, "val_images": given["val_images"][:3]})
    with pytest.raises(DataError) as caught:
        export_run(run, data=other, output=tmp_path / "export")
    assert str(caught.value) == (
        f"expected the run's 4 validation images in '{other}', found 1 missing ('val_images/3' first); "
        "name the folder or file that contains them with --data"
    )
    text = tmp_path / "notes.npz"
    text.write_text("a letter")
    with pytest.raises(
        DataError, match=r"^expected a data folder or a MedMNIST \.npz file at '.*notes\.npz', found a "
    ):
        export_run(run, data=text, output=tmp_path / "export")
    assert not (tmp_path / "export").exists()
