"""A model's tuning is for one file, one provider and one device."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctonnx.errors import ModelError
from ctonnx.inference.tuning import Setting, Tuning, read_tuning, save_tuning, tuning_file

ONE = Setting(threads=2, workers=1, batch_size=1, spinning=True, images_per_s=70.0)
MANY = Setting(threads=2, workers=2, batch_size=4, spinning=False, images_per_s=90.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = tmp_path / "model.int8.onnx"
    model.write_bytes(b"a model")
    return model


def test_tuning_is_read_as_it_was_written(file: Path) -> None:
    assert save_tuning(file, Tuning(one=ONE, many=MANY), provider="cpu") == tuning_file(file)
    assert tuning_file(file).name == "model.int8.tuned.json"
    assert read_tuning(file, provider="cpu") == Tuning(one=ONE, many=MANY)


def test_many_images_give_each_worker_two_batches() -> None:
    tuning = Tuning(one=ONE, many=MANY)
    assert tuning.best_for(15) == ONE
    assert tuning.best_for(16) == MANY
    assert MANY.summary == "threads 2, workers 2, batch 4, spinning off"


def test_missing_tuning_is_an_error_with_the_command_that_makes_it(file: Path) -> None:
    with pytest.raises(
        ModelError, match=r"found none; make it on this device with: ctonnx bench --sweep threads --prov"
    ):
        read_tuning(file, provider="cpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model_sha256", "0" * 64, "found one for model_sha256 0000"),
        ("provider", "cuda", "found one for provider cuda, where this is cpu"),
        ("processor", "Another CPU", "found one for processor Another CPU"),
        ("cores", 99, "found one for cores 99"),
        ("schema_version", 2, "found something else (schema 2)"),
        ("one", {"threads": 2}, "found something else ("),
        ("one", {**vars(ONE), "threads": 0}, "expected at least 1 thread, found 0"),
        ("one", {**vars(ONE), "threads": 10**6}, "expected at most "),
        (
            "one",
            {**vars(ONE), "workers": 0},
            "expected 1 worker or more and a batch of 1 to 65536 images, found 0",
        ),
        ("one", {**vars(ONE), "batch_size": 10**9}, "a batch of 1 to 65536 images, found 1 and 1000000000"),
        ("many", {**vars(ONE), "threads": "two"}, "expected a whole number at 'many.threads', found 'two'"),
        ("many", {**vars(ONE), "threads": True}, "expected a whole number at 'many.threads', found true"),
        ("many", {**vars(ONE), "images_per_s": float("nan")}, "expected a finite number at 'many.images_per_s'"),
        ("many", None, "expected an object at 'many', found null"),
        ("cores", 10**100, "expected whole numbers of at most 20 digits, found one of 101"),
        ("one", {**vars(ONE), "spinning": 1}, "expected true or false at 'one.spinning', found 1"),
    ],
)
def test_tuning_of_something_else_is_rejected(file: Path, name: str, value: Any, message: str) -> None:
    save_tuning(file, Tuning(one=ONE, many=MANY), provider="cpu")
    document = json.loads(tuning_file(file).read_text(encoding="utf-8"))
    tuning_file(file).write_text(json.dumps({**document, name: value}), encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        read_tuning(file, provider="cpu")
    assert message in str(raised.value)


def test_damaged_tuning_is_rejected(file: Path) -> None:
    tuning_file(file).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="found something else"):
        read_tuning(file, provider="cpu")
