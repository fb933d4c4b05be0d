"""The sentence about images in more than one split."""

from typing import Any

from ctonnx.artifacts.spec import describe_leakage

IMAGES = {"train": {"normal": 400}, "valid": {"normal": 40, "tumor": 32}, "test": {"normal": 300, "tumor": 15}}


def data(leaked: dict[str, int], dropped: dict[str, int] | None = None) -> dict[str, Any]:
    return {"images": IMAGES, "leaks": {"leaked": leaked, "dropped": dropped or {}}}


def test_each_split_that_leaks_is_reported_with_its_number_of_images() -> None:
    assert describe_leakage(data({"valid": 10, "test": 3})) == (
        "10 of 72 validation images and 3 of 315 test images have a copy, or an image of their group, in an earlier "
        "split: metrics on them are optimistic"
    )
    assert str(describe_leakage(data({"valid": 0, "test": 3}))).startswith("3 of 315 test images have")


def test_excluded_images_make_no_metric_optimistic_and_are_counted_with_their_split() -> None:
    assert describe_leakage(data({"valid": 10, "test": 0}, {"train": 2, "valid": 10, "test": 0})) == (
        "10 of 82 validation images had a copy, or an image of their group, in an earlier split: they were left out"
    )


def test_clean_data_and_a_file_without_leakage_have_no_sentence() -> None:
    assert describe_leakage(data({"valid": 0, "test": 0})) is None
    assert describe_leakage({"name": "lungs"}) is None
