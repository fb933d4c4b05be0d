"""`evaluate_model` on images seen in training: training and validation images, and splits that the run made."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import Pixels, PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.evaluate import evaluate_model
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, Predicted
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

PIXELS = Preprocessing(size=32)


def rejected(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_model(*arguments, **options)
    assert str(caught.value) == message


def digests_in(labelled: Path, *splits: Split) -> frozenset[str]:
    data = read_data(labelled)
    samples = [sample for split in splits for sample in data.splits[split]]
    return frozenset(PixelStore(open_source(labelled), samples, PIXELS).digests.values())


def knowing(evaluated: EvaluatedModel, labelled: Path, *splits: Split) -> EvaluatedModel:
    """Returns the model that knows the images of these splits of its training."""
    return replace(evaluated, digests={split: digests_in(labelled, split) for split in splits})


def test_images_that_the_model_was_trained_on_are_known_by_their_pixels(
    evaluated: EvaluatedModel, labelled: Path, tmp_path: Path
) -> None:
    known = knowing(evaluated, labelled, "train", "valid")
    shutil.copy(labelled / "train" / "a" / "scan 0.png", labelled / "test" / "a" / "another name.png")
    shutil.copy(labelled / "valid" / "b" / "scan 0.png", labelled / "test" / "b" / "copy.png")
    lines: list[str] = []
    data = evaluate_model(known, labelled, replicates=0, log=lines.append).document["data"]
    assert data["images"] == 7
    assert data["seen_in_training"] == {"trained_on": 1, "chosen_by": 1, "dropped": 0}
    assert lines[1:] == [
        "warning: 1 of the 7 images is among those that 'runs/tiny' was trained on: the metrics are optimistic; --drop-"
        "leaks leaves it out"
    ]


def test_images_that_the_model_was_trained_on_can_be_left_out(evaluated: EvaluatedModel, labelled: Path) -> None:
    known = knowing(evaluated, labelled, "train", "valid")
    lines: list[str] = []
    found = evaluate_model(known, labelled, split="all", drop_leaks=True, replicates=0, log=lines.append)
    data = found.document["data"]
    assert (data["images"], found.labels.tolist()) == (8, [0, 0, 1, 0, 0, 1, 1, 1])
    assert data["seen_in_training"] == {"trained_on": 0, "chosen_by": 3, "dropped": 8}
    assert lines == [f"PyTorch checkpoint 'tiny' on 8 images (all) of {labelled}"]
    samples = [*read_data(labelled).splits["valid"], *read_data(labelled).splits["test"]]
    expected = evaluated.probabilities(PixelStore(open_source(labelled), samples, PIXELS), range(8))
    np.testing.assert_array_equal(found.probabilities, expected)


def test_no_warning_is_logged_for_images_that_the_training_did_not_see(
    evaluated: EvaluatedModel, labelled: Path
) -> None:
    known = knowing(evaluated, labelled, "train")
    lines: list[str] = []
    found = evaluate_model(known, labelled, drop_leaks=True, replicates=0, log=lines.append)
    assert found.document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 0}
    assert len(lines) == 1


def test_no_image_left_is_reported(evaluated: EvaluatedModel, labelled: Path) -> None:
    known = knowing(evaluated, labelled, "train")
    rejected(
        f"expected images in '{labelled}' that the model was not trained on, found none",
        known,
        labelled,
        split="train",
        drop_leaks=True,
    )


def test_what_is_not_known_cannot_be_left_out(evaluated: EvaluatedModel, labelled: Path) -> None:
    rejected(
        "expected to know which images 'runs/tiny' was trained on, for --drop-leaks, found no run with their digests "
        "next to it; evaluate its run, or leave out --drop-leaks",
        evaluated,
        labelled,
        drop_leaks=True,
    )


def test_the_copies_that_the_training_found_are_in_the_document(evaluated: EvaluatedModel, labelled: Path) -> None:
    leaks = {"groups": 3}
    found = evaluate_model(replace(evaluated, data={"leaks": leaks}), labelled, replicates=0)
    assert found.document["data"]["trained_on_with_copies"] == leaks


def test_images_that_are_left_out_are_left_out_of_the_comparison(evaluated: EvaluatedModel, labelled: Path) -> None:
    known = knowing(evaluated, labelled, "train")
    other = knowing(evaluated, labelled, "valid")
    document = evaluate_model(
        known, labelled, split="all", other=replace(other, digests={"train": other.digests["valid"]}), drop_leaks=True
    ).document
    assert document["comparison"]["images"] == document["data"]["images"] == 5
    assert document["comparison"]["max_dp"] == 0
    assert document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 11}
    assert document["comparison"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None}


def test_what_the_other_model_was_trained_on_is_reported(evaluated: EvaluatedModel, labelled: Path) -> None:
    known, lines = replace(knowing(evaluated, labelled, "train", "valid"), path=Path("m.onnx")), list[str]()
    document = evaluate_model(evaluated, labelled, split="all", other=known, replicates=0, log=lines.append).document
    assert document["data"]["seen_in_training"] == {"trained_on": None, "chosen_by": None, "dropped": 0}
    assert document["comparison"]["seen_in_training"] == {"trained_on": 8, "chosen_by": 3}
    assert lines[1:] == [
        "warning: 8 of the 16 images are among those that 'm.onnx' was trained on: the metrics are optimistic; --drop-"
        "leaks leaves them out"
    ]


@pytest.mark.parametrize("unknown", ["runs/tiny", "m.onnx"])
def test_images_are_left_out_of_a_comparison_only_where_both_models_know_theirs(
    unknown: str, evaluated: EvaluatedModel, labelled: Path
) -> None:
    models = [replace(knowing(evaluated, labelled, "train"), path=Path(path)) for path in ("runs/tiny", "m.onnx")]
    first, second = (replace(model, digests={}) if str(model.path) == unknown else model for model in models)
    rejected(
        f"expected to know which images '{unknown}' was trained on, for --drop-leaks, found no run with their digests "
        "next to it; evaluate its run, or leave out --drop-leaks",
        first,
        labelled,
        other=second,
        drop_leaks=True,
    )


def with_made_splits(evaluated: EvaluatedModel, root: Path) -> tuple[EvaluatedModel, Prepared]:
    """Returns the model as if it had been trained on a folder, and the dataset that its training prepared."""
    made = prepare(read_data(root), TrainSettings(seed=3), PIXELS, lambda line: None)
    digests: dict[Split, frozenset[str]] = {
        split: frozenset(made.store.digests[sample.path] for sample in samples)
        for split, samples in made.data.splits.items()
    }

    def two_of(store: Pixels, rows: Sequence[int]) -> Predicted:
        two = evaluated.probabilities(store, rows)[:, :2]
        shares: NDArray[np.floating[Any]] = two / two.sum(axis=1, keepdims=True)
        return Predicted(shares)

    return replace(evaluated, classes=("a", "b"), data_root=root, digests=digests, predict=two_of), made


@pytest.mark.parametrize("folders", [("a", "b"), ("train/a", "train/b")])
@pytest.mark.parametrize("split", [None, "valid", "test"])
def test_splits_that_the_run_made_are_evaluated_on_their_own_images(
    split: Any, folders: tuple[str, str], evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", dict.fromkeys(folders, 14))
    known, made = with_made_splits(evaluated, root)
    wanted: Split = split or ("test" if made.data.splits["test"] else "valid")
    if not made.data.splits[wanted]:
        rejected(
            f"expected images of the split 'test' in '{root}', found those of 'train', 'valid' only; choose another "
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
    np.testing.assert_array_equal(found.probabilities, known.probabilities(made.store, made.rows[wanted]))
    assert found.labels.tolist() == made.labels(wanted)


def test_images_of_a_made_split_are_known_by_their_pixels(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", {"a": 14, "b": 14})
    known, made = with_made_splits(evaluated, root)
    moved = root / made.data.splits["test"][0].path
    moved.rename(moved.with_name("zzz.png"))
    assert evaluate_model(known, root, replicates=0).document["data"]["images"] == len(made.data.splits["test"])


@pytest.mark.parametrize("drop_leaks", [False, True])
def test_a_made_split_none_of_whose_images_is_as_it_was_is_reported(
    drop_leaks: bool, evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", {"a": 14, "b": 14})
    known, made = with_made_splits(evaluated, root)
    for number, sample in enumerate(made.data.splits["test"]):
        Image.new("L", (40, 40), number).save(root / sample.path)
    rejected(
        f"expected the images of the split 'test' that 'runs/tiny' took from '{root}', found that all of them have "
        "changed or been removed since; restore them, or choose another --split, or all",
        known,
        root,
        drop_leaks=drop_leaks,
    )


def test_another_folder_without_splits_is_evaluated_whole(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "flat", {"a": 14, "b": 14})
    known, _ = with_made_splits(evaluated, root)
    copied = Path(shutil.copytree(root, tmp_path / "copied"))
    lines: list[str] = []
    data = evaluate_model(known, copied, replicates=0, log=lines.append).document["data"]
    assert (data["split"], data["images"]) == ("all", 28)
    trained_on = data["seen_in_training"]["trained_on"]
    assert 0 < trained_on < 28
    assert lines[-1].startswith(f"warning: {trained_on} of the 28 images are among those that 'runs/tiny' was trained")
