"""A run's checkpoint and its exported model: equal probabilities, and digests of the training images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctonnx import Predictor
from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx.system.files import sha256_of
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, open_evaluated_model
from ctonnx_train.runs.record import read_record


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(scope="module")
def checkpoint(exported_run: Run) -> EvaluatedModel:
    return open_evaluated_model(exported_run.folder)


@pytest.fixture(scope="module")
def exported(model: Path) -> EvaluatedModel:
    return open_evaluated_model(model)


@pytest.fixture(scope="module")
def store(checkpoint: EvaluatedModel, phantoms: Path) -> PixelStore:
    return PixelStore(open_source(phantoms), read_data(phantoms).splits["test"], checkpoint.preprocessing)


@pytest.fixture
def copied(exported_run: Run, tmp_path: Path) -> Run:
    """A copy of the run whose weights and model are links."""
    run = Run(tmp_path / "runs" / "copy")
    run.export_folder.mkdir(parents=True)
    run.weights_file.symlink_to(exported_run.weights_file)
    for file in (exported_run.record_file, exported_run.splits_file, exported_run.novelty_file):
        shutil.copy(file, run.folder)
    try:
        run.model_file("fp32").hardlink_to(exported_run.model_file("fp32"))
    except OSError:
        shutil.copy(exported_run.model_file("fp32"), run.export_folder)
    return run


def digests_in(folder: Path, split: Split, evaluated: EvaluatedModel) -> frozenset[str]:
    store = PixelStore(open_source(folder), read_data(folder).splits[split], evaluated.preprocessing)
    return frozenset(store.digests.values())


def test_a_checkpoint_has_the_values_of_its_record(checkpoint: EvaluatedModel, exported_run: Run) -> None:
    record = read_record(exported_run)
    assert (checkpoint.path, checkpoint.name, checkpoint.kind) == (exported_run.folder, "tiny", "PyTorch checkpoint")
    assert checkpoint.classes == record.classes
    assert checkpoint.preprocessing == record.preprocessing
    assert checkpoint.operating_point == record.operating_point
    assert checkpoint.synthetic is True
    assert checkpoint.data == record.data
    assert checkpoint.class_names == record.folder_classes
    assert checkpoint.run == exported_run
    assert checkpoint.data_root == Path(record.data["folder"])


def test_an_exported_model_has_the_values_of_its_spec(exported: EvaluatedModel, model: Path, exported_run: Run) -> None:
    spec = Predictor(model).spec
    assert (exported.path, exported.name, exported.kind) == (model, "tiny", "ONNX fp32")
    assert exported.classes == spec.classes
    assert exported.preprocessing == spec.preprocessing
    assert exported.operating_point == spec.operating_point
    assert exported.synthetic is True
    assert exported.data == spec.data
    assert exported.run is not None
    assert exported.run.folder.resolve() == exported_run.folder.resolve()


def test_both_know_the_images_of_the_training(
    checkpoint: EvaluatedModel, exported: EvaluatedModel, phantoms: Path
) -> None:
    for evaluated in (checkpoint, exported):
        assert evaluated.trained_on == digests_in(phantoms, "train", evaluated)
        assert evaluated.chosen_by == digests_in(phantoms, "valid", evaluated)
        assert evaluated.digests["test"] == digests_in(phantoms, "test", evaluated)
        assert evaluated.data_root == phantoms.resolve()
        assert evaluated.class_names["large.central_right.hilum_T3_N2_M0_IIIa"] == "large central"


def test_both_know_the_patients_of_the_training(copied: Run) -> None:
    rows = json.loads(copied.splits_file.read_text(encoding="utf-8"))
    named = {
        split: [[*row[:3], f"{split} {number % 2}"] for number, row in enumerate(of)] for split, of in rows.items()
    }
    copied.splits_file.write_text(json.dumps(named), encoding="utf-8")
    for evaluated in (open_evaluated_model(copied.folder), open_evaluated_model(copied.model_file("fp32"))):
        assert evaluated.training_patients == {"train 0", "train 1"}
        assert evaluated.validation_patients == {"valid 0", "valid 1"}


def test_a_checkpoint_and_its_exported_model_predict_alike(
    checkpoint: EvaluatedModel, exported: EvaluatedModel, store: PixelStore
) -> None:
    rows = [5, 0, 3]
    first, second = checkpoint.probabilities(store, rows), exported.probabilities(store, rows)
    assert first.shape == second.shape == (3, 4)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=0, atol=1e-9)


def test_the_probabilities_are_those_of_predict(
    exported: EvaluatedModel, model: Path, store: PixelStore, phantoms: Path
) -> None:
    found = exported.probabilities(store, range(len(store)))
    predictor = Predictor(model)
    for row, sample in enumerate(read_data(phantoms).splits["test"]):
        prediction = predictor.predict(phantoms / sample.path)
        assert [prediction.probabilities[name] for name in exported.classes] == pytest.approx(found[row], abs=1e-6)


def test_more_images_than_a_batch_are_predicted_in_their_order(
    checkpoint: EvaluatedModel, exported: EvaluatedModel, store: PixelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [evaluated.probabilities(store, range(len(store))) for evaluated in (checkpoint, exported)]
    monkeypatch.setattr("ctonnx_train.evaluation.evaluated_model._BATCH", 3)
    for evaluated, expected in zip((checkpoint, exported), whole, strict=True):
        np.testing.assert_allclose(evaluated.probabilities(store, range(len(store))), expected, rtol=0, atol=1e-6)


def test_no_rows_have_no_probabilities(checkpoint: EvaluatedModel, exported: EvaluatedModel, store: PixelStore) -> None:
    assert checkpoint.probabilities(store, []).shape == exported.probabilities(store, []).shape == (0, 4)


def test_the_temperature_divides_a_checkpoints_logits(
    copied: Run, checkpoint: EvaluatedModel, store: PixelStore
) -> None:
    record = json.loads(copied.record_file.read_text(encoding="utf-8"))
    record["temperature"] *= 1000
    copied.record_file.write_text(json.dumps(record), encoding="utf-8")
    flat = open_evaluated_model(copied.folder).probabilities(store, range(4))
    np.testing.assert_allclose(flat, 0.25, rtol=0, atol=0.01)
    sharper = checkpoint.probabilities(store, range(4))
    assert (flat.argmax(axis=1) == sharper.argmax(axis=1)).all()
    assert np.ptp(sharper, axis=1).min() > 2 * np.ptp(flat, axis=1).max()


def test_a_run_is_found_by_its_name(copied: Run) -> None:
    assert open_evaluated_model(Path("copy"), root=copied.folder.parent).run == copied


def test_a_model_far_from_its_run_does_not_know_what_it_was_trained_on(model: Path, tmp_path: Path) -> None:
    shutil.copy(model, tmp_path / "model.onnx")
    alone = open_evaluated_model(tmp_path / "model.onnx")
    assert (alone.run, alone.trained_on, alone.chosen_by, alone.class_names) == (None, None, None, {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.splits_file.unlink(),
        lambda run: run.record_file.write_text("{}", encoding="utf-8"),
        lambda run: run.record_file.write_text(
            run.record_file.read_text(encoding="utf-8").replace('"fingerprint": "', '"fingerprint": "0'),
            encoding="utf-8",
        ),
    ],
    ids=["no splits", "damaged record", "another dataset"],
)
def test_a_model_in_a_folder_that_is_not_its_run_does_not_know_either(
    damage: Callable[[Run], object], copied: Run
) -> None:
    assert open_evaluated_model(copied.model_file("fp32")).trained_on is not None
    damage(copied)
    found = open_evaluated_model(copied.model_file("fp32"))
    assert (found.run, found.trained_on, found.chosen_by, found.class_names) == (None, None, None, {})


def test_a_run_of_the_first_release_does_not_know_what_it_was_trained_on(copied: Run) -> None:
    rows = json.loads(copied.splits_file.read_text(encoding="utf-8"))
    old = {split: [row[:2] for row in samples] for split, samples in rows.items()}
    copied.splits_file.write_text(json.dumps(old), encoding="utf-8")
    for evaluated in (open_evaluated_model(copied.folder), open_evaluated_model(copied.model_file("fp32"))):
        assert (evaluated.trained_on, evaluated.chosen_by) == (None, None)
        assert evaluated.run is not None


def test_no_run_and_no_model_are_reported(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"^expected a run's folder \(with model\.safetensors and run\.json\) at 'no' "
    ):
        open_evaluated_model(Path("no"), root=tmp_path)
    with pytest.raises(ModelError, match=r"^expected an \.onnx file, found no file at 'no\.onnx'"):
        open_evaluated_model(Path("no.onnx"), root=tmp_path)


def test_a_file_that_is_not_a_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"no model")
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        open_evaluated_model(tmp_path / "scan.png")


def test_threads_are_those_that_were_asked_for(
    exported_run: Run, model: Path, store: PixelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    class Noting(Predictor):
        def __init__(self, path: Path, *, threads: int | None, spinning: bool) -> None:
            asked.append(threads)
            super().__init__(path, threads=threads, spinning=spinning)

    def noting(*arguments: object, **options: object) -> NDArray[np.float32]:
        asked.append(torch.get_num_threads())
        return np.zeros((1, 256), np.float32)

    monkeypatch.setattr("ctonnx.prediction.predictor.Predictor", Noting)
    monkeypatch.setattr("ctonnx_train.network.inference.predict_features", noting)
    open_evaluated_model(model, threads=2)
    before = torch.get_num_threads()
    open_evaluated_model(exported_run.folder, threads=before + 1).probabilities(store, [0])
    assert asked == [2, before + 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match=r"^expected at least 1 thread, found 0$"):
        open_evaluated_model(model, threads=0)


def test_pixels_in_memory_have_the_probabilities_of_the_store(
    checkpoint: EvaluatedModel, exported: EvaluatedModel, store: PixelStore
) -> None:
    rows = range(len(store))
    three = np.ascontiguousarray(np.broadcast_to(store.take(rows), (len(store), 64, 64, 3)))
    for evaluated in (checkpoint, exported):
        probabilities, novelty = evaluated.predict_pixels(three)
        np.testing.assert_allclose(probabilities, evaluated.probabilities(store, rows), atol=1e-6)
        assert (novelty is None) == (evaluated.novelty is None)


def test_both_have_the_hash_of_the_weights(
    checkpoint: EvaluatedModel, exported: EvaluatedModel, exported_run: Run
) -> None:
    assert checkpoint.checkpoint_sha256 == exported.checkpoint_sha256 == sha256_of(exported_run.weights_file)
