"""The quick audit of a training: the files or the network's input, near duplicates kept together, and large sets."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.images import Preprocessing, to_pixels
from ctonnx.images.loading import load_with_origin
from ctonnx_train.audit.training_images import (
    Described,
    audit_training_images,
    choose_described,
    describe_image,
    sees_input,
)
from ctonnx_train.data.splits import Sample


def described(image: Image.Image, preprocessing: Preprocessing) -> Described:
    scan, origin = load_with_origin(image)
    return describe_image(scan, origin, to_pixels(scan, preprocessing), preprocessing)


def set_of(count: int, **settings: Any) -> tuple[dict[str, Described], list[Sample]]:
    """Returns images of two classes, those of the second ten pixels wider."""
    samples = [Sample(f"{row}.png", row % 2) for row in range(count)]
    preprocessing = Preprocessing(size=32, **settings)
    found = {}
    for row, sample in enumerate(samples):
        blots = Image.fromarray(np.random.default_rng(row).integers(0, 256, (8, 8), dtype=np.uint8))
        image = blots.resize((80 + 10 * (row % 2), 80), Image.Resampling.BICUBIC)
        found[sample.path] = described(image, preprocessing)
    return found, samples


def test_files_are_tested_and_with_a_crop_the_networks_input() -> None:
    of_files, samples = set_of(48)
    shortcuts, acquisition = audit_training_images(of_files, samples, ("a", "b"), {})
    assert (shortcuts["verdict"], shortcuts.get("audited"), shortcuts["permutations"]) == ("strong", "files", 199)
    assert acquisition["images"] == 48
    assert (acquisition["medians"]["width"], acquisition["by_class"]["b"]["width"]) == (85.0, 90.0)
    of_input, samples = set_of(48, crop="body")
    shortcuts, acquisition = audit_training_images(of_input, samples, ("a", "b"), {}, of_input=True)
    assert (shortcuts["verdict"], shortcuts.get("audited")) == ("none", "input")
    assert acquisition["by_class"]["b"]["width"] == 90.0
    assert not sees_input(Preprocessing())
    assert sees_input(Preprocessing(crop="body"))
    assert sees_input(Preprocessing(resize="pad"))


def test_images_of_a_group_are_kept_together() -> None:
    found, samples = set_of(48)
    names = {sample.path: f"patient {row // 8}" for row, sample in enumerate(samples)}
    assert audit_training_images(found, samples, ("a", "b"), names)[0]["verdict"] == "untested"
    copies = {path: found["0.png"]._replace(tested=of.tested) for path, of in found.items()}
    assert audit_training_images(copies, samples, ("a", "b"), {})[0]["groups"] == 1


def test_a_choice_of_many_images_is_described_and_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_described(5) == [0, 1, 2, 3, 4]
    monkeypatch.setattr("ctonnx_train.audit.training_images._MOST_DESCRIBED", 3)
    chosen = choose_described(100, seed=1)
    assert (len(chosen), chosen) == (3, sorted(set(chosen)))
    assert chosen == choose_described(100, seed=1) != choose_described(100, seed=2)
    monkeypatch.setattr("ctonnx_train.audit.training_images.MOST_IMAGES", 30)
    found, samples = set_of(48)
    del found["7.png"]
    shortcuts, acquisition = audit_training_images(found, samples, ("a", "b"), {})
    assert (shortcuts["images"], acquisition["images"]) == (30, 47)
