"""Bins of an image, and the counts of the images that a model was fitted on."""

import numpy as np
import pytest

from ctonnx.artifacts.decision.usage import ORDERED, QUANTITIES, UsageReference, bins_of


@pytest.mark.parametrize(
    ("values", "bin_"),
    [
        ({"score": 0.0}, "0.00"),
        ({"score": 0.0499}, "0.00"),
        ({"score": 0.05}, "0.05"),
        ({"score": float(np.float32(0.7))}, "0.70"),
        ({"score": 1.0}, "0.95"),
        ({"novelty_percentile": 4.99}, "0"),
        ({"novelty_percentile": 100.0}, "95"),
        ({"mean_grey": 0.0}, "0"),
        ({"mean_grey": 255.0}, "248"),
        ({"size": (512, 400)}, "512x400"),
        ({"decision": "refer"}, "refer"),
    ],
)
def test_bin_is_the_lower_end_of_a_step(values: dict[str, object], bin_: str) -> None:
    found = bins_of(label="a", **values)  # type: ignore[arg-type]
    assert list(found.values()) == ["a", bin_]
    assert set(found) <= set(QUANTITIES)


def test_bins_of_numbers_are_numbers() -> None:
    found = bins_of(label="a", decision="refer", score=0.5, novelty_percentile=50.0, mean_grey=9.0, size=(1, 1))
    assert tuple(found) == QUANTITIES
    assert all(float(found[quantity]) >= 0 for quantity in ORDERED)


def test_reference_counts_its_images() -> None:
    found = UsageReference.of([{"class": "a"}, {"class": "b", "size": "1x1"}, {"class": "a"}])
    assert found == UsageReference(images=3, counts={"class": {"a": 2, "b": 1}, "size": {"1x1": 1}})
    assert UsageReference.of([]) is None


def test_reference_rejects_counts_that_are_not_its_images() -> None:
    with pytest.raises(ValueError, match="expected at most 3 images in the bins of 'class', found others"):
        UsageReference(images=3, counts={"class": {"a": 4}})
