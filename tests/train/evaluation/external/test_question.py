"""The sides of the data's classes: positive, negative, or left out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from ctonnx.errors import DataError
from ctonnx_train.evaluation.external.question import Question, choose_question, read_any_classes

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

IQ_OTH = {"Bengin cases": 1, "Malignant cases": 2, "Normal cases": 1}


@pytest.mark.parametrize(
    ("folders", "positive", "negative", "expected"),
    [
        (IQ_OTH, (), (), (("malignant",), ("benign", "normal"), ())),
        (IQ_OTH, ("malignant",), ("normal,benign",), (("malignant",), ("benign", "normal"), ())),
        (IQ_OTH, ("Malignant cases",), (), (("malignant",), ("benign", "normal"), ())),
        (IQ_OTH, (), ("normal",), (("benign", "malignant"), ("normal",), ())),
        (IQ_OTH, ("malignant",), ("normal",), (("malignant",), ("normal",), ("benign",))),
        ({"malignant": 1}, (), (), (("malignant",), (), ())),
        ({"malignant": 1}, ("malignant",), ("normal,benign",), (("malignant",), (), ())),
        ({"benign": 1}, (), (), ((), ("benign",), ())),
        ({"a,b": 1, "c": 1}, ("a,b",), (), (("a,b",), ("c",), ())),
    ],
)
def test_sides_of_the_classes(
    folders: dict[str, int],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    expected: tuple[tuple[str, ...], ...],
    tmp_path: Path,
    images_in: ImagesIn,
) -> None:
    data = read_any_classes(images_in(tmp_path / "scans", folders), None)
    sides = dict(zip(("positive", "negative", "left_out"), expected, strict=True))
    assert choose_question(data, positive, negative) == Question(**sides)


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (
            ("malignnant",),
            (),
            "expected --positive to name one of the classes 'benign', 'malignant', 'normal' of '{}', "
            "found 'malignnant'",
        ),
        (
            ("malignant",),
            ("normla", "benign"),
            "expected --negative to name one of the classes 'benign', 'malignant', 'normal' of '{}', found 'normla'",
        ),
        (("benign",), ("benign",), "expected each class on one side, found 'benign' in --positive and in --negative"),
    ],
)
def test_wrong_names_are_reported(
    positive: tuple[str, ...], negative: tuple[str, ...], message: str, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "scans", IQ_OTH)
    with pytest.raises(DataError) as caught:
        choose_question(read_any_classes(root, None), positive, negative)
    assert str(caught.value) == message.format(root)


def test_given_names_are_read_and_splits_too(tmp_path: Path, images_in: ImagesIn) -> None:
    root = images_in(tmp_path / "scans", {"train/x": 1, "test/x": 2, "test/normal": 1})
    data = read_any_classes(root, {"x": "cancer"})
    assert choose_question(data).sentence == "positive: cancer; negative: normal"
    assert [len(samples) for samples in data.splits.values()] == [1, 0, 3]


def test_sentence_names_what_is_left_out() -> None:
    assert (
        Question(positive=(), negative=("a",), left_out=("b",)).sentence == "positive: none; negative: a; left out: b"
    )
