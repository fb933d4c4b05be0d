"""`evaluate_model`: which images are measured, what is known about them, and two models side by side."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.spec import OperatingPoint
from ctonnx_train.calibration import suspicious_figures
from ctonnx_train.comparison import compare_answers
from ctonnx_train.evaluation import SCHEMA_VERSION, evaluate_model
from ctonnx_train.folders import read_data
from ctonnx_train.metrics import evaluate
from ctonnx_train.pixels import PixelStore
from ctonnx_train.preparing import Prepared, prepare
from ctonnx_train.recipe import TrainSettings
from ctonnx_train.sources import open_source
from ctonnx_train.splits import Split
from ctonnx_train.subjects import Subject

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

CLASSES = ("a", "b", "c")
PIXELS = Preprocessing(size=32)


def answers_of(store: PixelStore, rows: Sequence[int]) -> NDArray[np.float64]:
    """Probabilities that depend on an image's pixels alone."""
    means = store.take(rows).reshape(len(rows), -1)[:, :3].astype(np.float64) + 1
    shares: NDArray[np.float64] = means / means.sum(axis=1, keepdims=True)
    return shares


@pytest.fixture
def subject() -> Subject:
    """A model of three classes, of which nothing more is known."""
    return Subject(
        path=Path("runs/tiny"),
        name="tiny",
        kind="PyTorch checkpoint",
        classes=CLASSES,
        preprocessing=PIXELS,
        operating_point=None,
        synthetic=False,
        data={},
        probabilities=answers_of,
    )


@pytest.fixture
def scans(tmp_path: Path, images_in: ImagesIn) -> Path:
    counts = {"train/a": 3, "train/b": 3, "train/c": 2, "valid/a": 2, "valid/b": 1, "test/a": 2, "test/b": 3}
    return images_in(tmp_path / "scans", counts)


def digests_in(scans: Path, *splits: Split) -> frozenset[str]:
    data = read_data(scans)
    samples = [sample for split in splits for sample in data.splits[split]]
    return frozenset(PixelStore(open_source(scans), samples, PIXELS).digests.values())


def knowing(subject: Subject, scans: Path, *splits: Split) -> Subject:
    """Returns the model that knows the images of these splits of its training."""
    return replace(subject, digests={split: digests_in(scans, split) for split in splits})


def refused(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError) as refusal:
        evaluate_model(*arguments, **options)
    assert str(refusal.value) == message


def test_the_document_holds_the_model_the_data_and_the_figures_of_the_split(subject: Subject, scans: Path) -> None:
    found = evaluate_model(subject, scans, replicates=20, seed=3)
    samples = read_data(scans, classes=CLASSES).splits["test"]
    answers = answers_of(PixelStore(open_source(scans), samples, PIXELS), range(5))
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(found.probabilities, answers)
    assert found.document == {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": "tiny",
            "kind": "PyTorch checkpoint",
            "path": "runs/tiny",
            "classes": ["a", "b", "c"],
            "synthetic": False,
        },
        "data": {
            "path": str(scans),
            "split": "test",
            "images": 5,
            "trained_on_with_copies": None,
            "seen_in_training": {"trained_on": None, "chosen_by": None, "dropped": 0},
        },
        "metrics": evaluate(answers, [0, 0, 1, 1, 1], CLASSES, replicates=20, seed=3),
        "suspicious": None,
    }
    json.dumps(found.document, allow_nan=False)


def test_a_class_that_the_data_lacks_keeps_its_place(subject: Subject, tmp_path: Path, images_in: ImagesIn) -> None:
    found = evaluate_model(subject, images_in(tmp_path / "few", {"test/c": 2, "test/a": 1}), replicates=0)
    assert found.labels.tolist() == [0, 2, 2]
    assert found.document["metrics"]["per_class"]["b"]["images"] == 0


@pytest.mark.parametrize(
    ("without", "split", "images"), [([], "test", 5), (["test"], "valid", 3), (["test", "valid"], "all", 8)]
)
def test_the_test_images_are_taken_else_the_validation_images_else_all(
    without: list[str], split: str, images: int, subject: Subject, scans: Path
) -> None:
    for name in without:
        shutil.rmtree(scans / name)
    lines: list[str] = []
    data = evaluate_model(subject, scans, replicates=0, say=lines.append).document["data"]
    assert (data["split"], data["images"]) == (split, images)
    assert lines == [f"PyTorch checkpoint 'tiny' on {images} images ({split}) of {scans}"]


@pytest.mark.parametrize(("split", "images"), [("train", 8), ("valid", 3), ("test", 5), ("all", 16)])
def test_a_split_can_be_chosen(split: Any, images: int, subject: Subject, scans: Path) -> None:
    data = evaluate_model(subject, scans, split=split, replicates=0).document["data"]
    assert (data["split"], data["images"]) == (split, images)


def test_a_folder_without_splits_is_evaluated_whole(subject: Subject, tmp_path: Path, images_in: ImagesIn) -> None:
    data = evaluate_model(subject, images_in(tmp_path / "flat", {"a": 2, "b": 1}), replicates=0).document["data"]
    assert (data["split"], data["images"]) == ("all", 3)


def test_a_split_that_is_not_there_is_told_with_those_that_are(subject: Subject, scans: Path) -> None:
    shutil.rmtree(scans / "test")
    refused(
        f"expected images of the split 'test' in '{scans}', found those of 'train', 'valid' alone; choose another "
        "--split, or all",
        subject,
        scans,
        split="test",
    )


def test_a_folder_without_images_is_told(subject: Subject, tmp_path: Path) -> None:
    refused(
        f"expected images of the split 'all' in '{tmp_path}', found none; choose another --split, or all",
        subject,
        tmp_path,
    )


def test_a_missing_folder_is_told(subject: Subject, tmp_path: Path) -> None:
    expected = f"expected a data folder or a MedMNIST .npz file at '{tmp_path / 'no'}', found nothing; check the path"
    refused(expected, subject, tmp_path / "no")
    refused(expected, replace(subject, class_names={"x": "a"}), tmp_path / "no")


def test_a_class_that_the_model_does_not_know_is_told(subject: Subject, tmp_path: Path, images_in: ImagesIn) -> None:
    root = images_in(tmp_path / "other", {"test/a": 1, "test/d": 1})
    refused(
        f"expected only the model's classes ('a', 'b', 'c') in every split of '{root}', found 'd' too; rename the "
        "folder or use --class-name OLD=NEW",
        subject,
        root,
    )


def test_folders_get_the_names_that_the_training_gave_them(
    subject: Subject, tmp_path: Path, images_in: ImagesIn
) -> None:
    """The names that the command gives come first; those of folders that are not there, or are empty, do not matter."""
    trained = replace(subject, class_names={"x": "a", "y": "b", "z": "c", "empty": "c", "nowhere": "a", "a": "a"})
    root = images_in(tmp_path / "named", {"test/x": 1, "test/y": 1, "test/z": 1, "test/a": 1})
    (root / "test" / "empty").mkdir()
    (root / "test" / "x" / "nowhere").mkdir()
    found = evaluate_model(trained, root, class_names={"y": "c"}, replicates=0)
    assert found.labels.tolist() == [0, 0, 2, 2]


def test_an_array_file_gets_the_names_that_the_training_gave_its_numbers(subject: Subject, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", test_images=images, test_labels=np.array([[2], [0], [0], [2]]))
    trained = replace(subject, class_names={"0": "b", "1": "a", "2": "c", "some folder": "a"})
    assert evaluate_model(trained, tmp_path / "few.npz", replicates=0).labels.tolist() == [2, 1, 1, 2]


def test_a_name_for_a_folder_that_is_not_there_is_refused(subject: Subject, scans: Path) -> None:
    refused(
        f"expected a class folder named 'q' in '{scans}', found 'a', 'b', 'c'; check --class-name",
        subject,
        scans,
        class_names={"q": "a"},
    )


def test_images_that_the_model_was_trained_on_are_known_by_their_pixels(
    subject: Subject, scans: Path, tmp_path: Path
) -> None:
    known = knowing(subject, scans, "train", "valid")
    shutil.copy(scans / "train" / "a" / "scan 0.png", scans / "test" / "a" / "another name.png")
    shutil.copy(scans / "valid" / "b" / "scan 0.png", scans / "test" / "b" / "copy.png")
    lines: list[str] = []
    data = evaluate_model(known, scans, replicates=0, say=lines.append).document["data"]
    assert data["images"] == 7
    assert data["seen_in_training"] == {"trained_on": 1, "chosen_by": 1, "dropped": 0}
    assert lines[1:] == [
        "warning: 1 of the 7 images are among those that 'runs/tiny' was trained on: the figures flatter; --drop-leaks "
        "leaves them out"
    ]


def test_images_that_the_model_was_trained_on_can_be_left_out(subject: Subject, scans: Path) -> None:
    known = knowing(subject, scans, "train", "valid")
    lines: list[str] = []
    found = evaluate_model(known, scans, split="all", drop_leaks=True, replicates=0, say=lines.append)
    data = found.document["data"]
    assert (data["images"], found.labels.tolist()) == (8, [0, 0, 1, 0, 0, 1, 1, 1])
    assert data["seen_in_training"] == {"trained_on": 0, "chosen_by": 3, "dropped": 8}
    assert lines == [f"PyTorch checkpoint 'tiny' on 8 images (all) of {scans}"]
    samples = [*read_data(scans).splits["valid"], *read_data(scans).splits["test"]]
    expected = answers_of(PixelStore(open_source(scans), samples, PIXELS), range(8))
    np.testing.assert_array_equal(found.probabilities, expected)


def test_nothing_is_said_of_images_that_the_training_did_not_see(subject: Subject, scans: Path) -> None:
    known = knowing(subject, scans, "train")
    lines: list[str] = []
    found = evaluate_model(known, scans, drop_leaks=True, replicates=0, say=lines.append)
    assert found.document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 0}
    assert len(lines) == 1


def test_no_image_left_is_told(subject: Subject, scans: Path) -> None:
    known = knowing(subject, scans, "train")
    refused(
        f"expected images in '{scans}' that the model was not trained on, found none",
        known,
        scans,
        split="train",
        drop_leaks=True,
    )


def test_what_is_not_known_cannot_be_left_out(subject: Subject, scans: Path) -> None:
    refused(
        "expected to know which images 'runs/tiny' was trained on, for --drop-leaks, found no run with their digests "
        "beside it; evaluate its run, or leave out --drop-leaks",
        subject,
        scans,
        drop_leaks=True,
    )


def test_groups_are_resampled_as_a_whole(subject: Subject, tmp_path: Path, images_in: ImagesIn) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 2, "test/b/p3": 3, "test/b": 2})
    # The last two's paths name no patient.
    found = evaluate_model(subject, root, group_regex=r"/(p\d)/", replicates=50)
    groups = [0, 0, 1, 1, 2, 2, 2, 3, 4]
    assert found.document["metrics"] == evaluate(
        found.probabilities, found.labels.tolist(), CLASSES, groups=groups, replicates=50
    )
    assert found.document["metrics"]["bootstrap"]["unit"] == "group"
    assert found.document["metrics"]["bootstrap"]["units"] == 5


def test_copies_are_of_one_group_whatever_their_paths_say(
    subject: Subject, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 1, "test/b": 1})
    shutil.copy(root / "test/a/p1/scan 0.png", root / "test/b/copy.png")
    found = evaluate_model(subject, root, group_regex=r"/(p\d)/", replicates=50)
    expected = evaluate(found.probabilities, found.labels.tolist(), CLASSES, groups=[0, 0, 1, 0, 2], replicates=50)
    assert found.document["metrics"] == expected


def test_the_models_operating_point_is_measured(subject: Subject, scans: Path) -> None:
    point = OperatingPoint(positive=("a", "c"), threshold=0.6, sensitivity=0.9, specificity=0.8)
    found = evaluate_model(replace(subject, operating_point=point), scans, replicates=0)
    assert found.document["suspicious"] == suspicious_figures(point, found.probabilities, found.labels, CLASSES)
    assert found.document["suspicious"]["sensitivity_images"] == 2


def test_what_the_training_found_of_copies_goes_into_the_document(subject: Subject, scans: Path) -> None:
    leaks = {"groups": 3}
    found = evaluate_model(replace(subject, data={"leaks": leaks}), scans, replicates=0)
    assert found.document["data"]["trained_on_with_copies"] == leaks


def test_another_model_is_compared_whatever_its_order_of_classes_and_its_pixels(subject: Subject, scans: Path) -> None:
    def turned(store: PixelStore, rows: Sequence[int]) -> NDArray[np.float64]:
        return answers_of(store, rows)[:, [2, 0, 1]]  # the order c, a, b

    other = replace(subject, classes=("c", "a", "b"), probabilities=turned, path=Path("m.onnx"), kind="ONNX fp32")
    same = evaluate_model(subject, scans, other=other, replicates=0).document["comparison"]
    assert (same["agreement"], same["max_dp"], same["accuracy"]) == (1.0, 0.0, same["other_accuracy"])
    assert same["other"] == {
        "name": "tiny",
        "kind": "ONNX fp32",
        "path": "m.onnx",
        "classes": ["c", "a", "b"],
        "synthetic": False,
    }
    larger = replace(subject, preprocessing=Preprocessing(size=64))
    found = evaluate_model(subject, scans, other=larger, replicates=0)
    samples = read_data(scans).splits["test"]
    answers = answers_of(PixelStore(open_source(scans), samples, Preprocessing(size=64)), range(5))
    comparison = found.document["comparison"]
    expected = compare_answers(found.probabilities, answers, found.labels)
    assert {name: comparison[name] for name in expected} == expected
    assert comparison["max_dp"] > 0
    assert comparison["accuracy"] == found.document["metrics"]["accuracy"]
    assert comparison["other_accuracy"] == (answers.argmax(axis=1) == found.labels).mean()


def test_images_that_are_left_out_are_left_out_of_the_comparison(subject: Subject, scans: Path) -> None:
    known = knowing(subject, scans, "train")
    other = knowing(subject, scans, "valid")
    document = evaluate_model(
        known, scans, split="all", other=replace(other, digests={"train": other.digests["valid"]}), drop_leaks=True
    ).document
    assert document["comparison"]["images"] == document["data"]["images"] == 5
    assert document["comparison"]["max_dp"] == 0
    assert document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 11}
    assert document["comparison"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None}


def test_what_the_other_model_was_trained_on_is_told(subject: Subject, scans: Path) -> None:
    known, lines = replace(knowing(subject, scans, "train", "valid"), path=Path("m.onnx")), list[str]()
    document = evaluate_model(subject, scans, split="all", other=known, replicates=0, say=lines.append).document
    assert document["data"]["seen_in_training"] == {"trained_on": None, "chosen_by": None, "dropped": 0}
    assert document["comparison"]["seen_in_training"] == {"trained_on": 8, "chosen_by": 3}
    assert lines[1:] == [
        "warning: 8 of the 16 images are among those that 'm.onnx' was trained on: the figures flatter; --drop-leaks "
        "leaves them out"
    ]


@pytest.mark.parametrize("unknown", ["runs/tiny", "m.onnx"])
def test_images_are_left_out_of_a_comparison_only_where_both_models_know_theirs(
    unknown: str, subject: Subject, scans: Path
) -> None:
    models = [replace(knowing(subject, scans, "train"), path=Path(path)) for path in ("runs/tiny", "m.onnx")]
    first, second = (replace(model, digests={}) if str(model.path) == unknown else model for model in models)
    refused(
        f"expected to know which images '{unknown}' was trained on, for --drop-leaks, found no run with their digests "
        "beside it; evaluate its run, or leave out --drop-leaks",
        first,
        scans,
        other=second,
        drop_leaks=True,
    )


@pytest.mark.parametrize(("size", "times"), [(32, 1), (64, 2)])
def test_images_are_read_again_only_for_a_model_with_other_pixels(
    size: int, times: int, subject: Subject, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def noted(source: Any, samples: Any, preprocessing: Preprocessing, **options: Any) -> PixelStore:
        read.append(preprocessing.size)
        return PixelStore(source, samples, preprocessing, **options)

    monkeypatch.setattr("ctonnx_train.evaluation.PixelStore", noted)
    other = replace(subject, preprocessing=Preprocessing(size=size))
    found = evaluate_model(subject, scans, other=other, replicates=0)
    assert read == [32, size][:times]
    assert (found.document["comparison"]["max_dp"] == 0) is (times == 1)


def with_made_splits(subject: Subject, root: Path) -> tuple[Subject, Prepared]:
    """Returns the model as if it had been trained on a folder, and what that training made of it."""
    made = prepare(read_data(root), TrainSettings(seed=3), PIXELS, lambda line: None)
    digests: dict[Split, frozenset[str]] = {
        split: frozenset(made.store.digests[sample.path] for sample in samples)
        for split, samples in made.data.splits.items()
    }
    return replace(subject, classes=("a", "b"), data_root=root, digests=digests, probabilities=two_of), made


def two_of(store: PixelStore, rows: Sequence[int]) -> NDArray[np.float64]:
    answers = answers_of(store, rows)[:, :2]
    shares: NDArray[np.float64] = answers / answers.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("folders", [("a", "b"), ("train/a", "train/b")])
@pytest.mark.parametrize("split", [None, "valid", "test"])
def test_of_a_data_set_whose_splits_the_run_made_its_own_images_are_taken(
    split: Any, folders: tuple[str, str], subject: Subject, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", dict.fromkeys(folders, 14))
    known, made = with_made_splits(subject, root)
    wanted: Split = split or ("test" if made.data.splits["test"] else "valid")
    if not made.data.splits[wanted]:
        refused(
            f"expected images of the split 'test' in '{root}', found those of 'train', 'valid' alone; choose another "
            "--split, or all",
            known,
            root,
            split=split,
        )
        return
    found = evaluate_model(known, root, split=split, replicates=0)
    data, samples = found.document["data"], made.data.splits[wanted]
    assert (data["split"], data["images"]) == (wanted, len(samples))
    assert 0 < len(samples) < 28
    assert data["seen_in_training"]["trained_on"] == 0
    np.testing.assert_array_equal(found.probabilities, two_of(made.store, made.rows[wanted]))
    assert found.labels.tolist() == made.labels(wanted)


def test_images_of_a_made_split_are_known_by_their_pixels(
    subject: Subject, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", {"a": 14, "b": 14})
    known, made = with_made_splits(subject, root)
    moved = root / made.data.splits["test"][0].path
    moved.rename(moved.with_name("zzz.png"))
    assert evaluate_model(known, root, replicates=0).document["data"]["images"] == len(made.data.splits["test"])


def test_another_folder_without_splits_is_evaluated_whole(
    subject: Subject, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", {"a": 14, "b": 14})
    known, _ = with_made_splits(subject, root)
    copied = Path(shutil.copytree(root, tmp_path / "copied"))
    lines: list[str] = []
    data = evaluate_model(known, copied, replicates=0, say=lines.append).document["data"]
    assert (data["split"], data["images"]) == ("all", 28)
    trained_on = data["seen_in_training"]["trained_on"]
    assert 0 < trained_on < 28
    assert lines[-1].startswith(f"warning: {trained_on} of the 28 images are among those that 'runs/tiny' was trained")


def test_a_model_with_other_classes_cannot_be_compared(subject: Subject, scans: Path) -> None:
    refused(
        "expected a model with the classes 'a', 'b', 'c' to compare with, found one with 'a', 'b'",
        subject,
        scans,
        other=replace(subject, classes=("a", "b")),
    )
