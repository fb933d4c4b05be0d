"""Shortcuts: each planted one is found, and none where there is none; copies stay together, and p-values are honest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.runtime.images.dicom import dicom_files

from ctonnx.artifacts.report_schema import Shortcuts
from ctonnx.images import Preprocessing
from ctonnx_train.audit.audit import audit_data
from ctonnx_train.audit.facts import Facts, image_facts
from ctonnx_train.audit.shortcuts import FEWEST_GROUPS, find_shortcuts
from ctonnx_train.data.image_folder import read_data

EACH = 24


def scan(seed: int) -> Image.Image:
    blots = np.random.default_rng(seed).integers(0, 160, (12, 12), dtype=np.uint8)
    return Image.fromarray(blots).resize((96, 96), Image.Resampling.BICUBIC)


def larger(image: Image.Image) -> Image.Image:
    return image.resize((110, 96))


def framed(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).rectangle((0, 0, 95, 95), outline=255)
    return image


def lettered(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).text((2, 2), "L 12", fill=255, font_size=16)
    return image


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda value: value + 30)


def dataset(root: Path, planted: Callable[[Image.Image], Image.Image], ending: str = "png") -> Path:
    """Writes a training set of two classes; `planted` and the ending are for those of `tumor`, but for every sixth."""
    for label, name in enumerate(("normal", "tumor")):
        for number in range(EACH):
            image, is_changed = scan(100 * label + number), label and number % 6
            folder = root / ("valid" if number % 4 == 0 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{number}.{ending if is_changed else 'png'}"
            (planted(image) if is_changed else image).save(file)
    return root


def audited(root: Path, **options: Any) -> Shortcuts:
    return audit_data(read_data(root), permutations=199, **options).shortcuts


@pytest.mark.parametrize(
    ("planted", "ending", "words"),
    [
        (larger, "png", "wider, median 110 against 96 pixels"),
        (lambda image: image, "jpg", "format JPEG, 83 % against 0 %"),
        (framed, "png", "even border, median 0 against "),
        (lettered, "png", "more letters or lines outside, median "),
        (brighter, "png", "brighter outside, median "),
    ],
    ids=["size", "jpeg", "frame", "letter", "mean"],
)
def test_planted_shortcut_is_found_and_named(
    planted: Callable[[Image.Image], Image.Image], ending: str, words: str, tmp_path: Path
) -> None:
    found = audited(dataset(tmp_path, planted, ending))
    assert found["verdict"] == "strong"
    of = found["classes"]["tumor"]
    assert of["verdict"] == "strong"
    assert (of.get("auroc") or 0) > 0.8
    assert of.get("p_value") == 0.005
    assert any(fact.startswith(words) for fact in of.get("facts", ())), of.get("facts")


def test_manufacturer_is_found_and_the_institution_never_named(tmp_path: Path) -> None:
    for label, name in enumerate(("normal", "tumor")):
        for number in range(EACH):
            pixels = np.asarray(scan(100 * label + number)).astype(np.int16) * 4 - 1000
            maker, place = ("ACME", "St. Elsewhere") if label and number % 6 else ("Other", "General")
            data = dicom_files.make(pixels, Manufacturer=maker, InstitutionName=place)
            folder = tmp_path / ("valid" if number % 4 == 0 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.dcm").write_bytes(dicom_files.encoded(data))
    found = audited(tmp_path)
    assert found["classes"]["tumor"].get("facts") == ["manufacturer ACME, 83 % against 0 %"]
    assert "Elsewhere" not in repr(found)


def test_institutions_are_numbered() -> None:
    facts: list[Facts] = [{"institution": "ffff" if row < EACH else "aaaa"} for row in range(2 * EACH)]
    labels = [row // EACH for row in range(2 * EACH)]
    found = find_shortcuts(facts, labels, ("normal", "tumor"), range(2 * EACH), permutations=99)
    assert found["classes"]["tumor"].get("facts") == ["institution 1 of 2, 100 % against 0 %"]


def test_shortcut_of_the_size_is_gone_from_what_the_network_sees(tmp_path: Path) -> None:
    root = dataset(tmp_path, larger)
    assert audited(root, as_seen=Preprocessing(size=64))["verdict"] == "none"
    assert audited(root, as_seen=Preprocessing(size=64, resize="pad"))["verdict"] == "strong"  # black bars


def noise(images: int, seed: int) -> list[Facts]:
    values = np.random.default_rng(seed).normal(size=(images, 2)).tolist()
    return [{"width": width, "outer_mean": mean} for width, mean in values]


def test_p_values_of_labels_by_chance_are_uniform() -> None:
    values = []
    for seed in range(40):
        labels = np.random.default_rng([1, seed]).integers(0, 2, 60).tolist()
        found = find_shortcuts(noise(60, seed), labels, ("a", "b"), range(60), permutations=39, seed=seed)
        values.append(found["classes"]["a"].get("p_value") or 0)
    assert sum(value <= 0.1 for value in values) <= 9  # 4 are expected, and 9 or fewer with a probability of 0.99
    assert 0.35 < np.mean(values) < 0.65


def test_copies_are_kept_together() -> None:
    """Facts that identify an image predict its copies' class: only whole groups in one fold show the difference."""
    unique = noise(30, 0)
    facts, labels = [of for of in unique for _ in range(6)], [row % 2 for row in range(30) for _ in range(6)]
    apart = find_shortcuts(facts, labels, ("a", "b"), range(180), permutations=99)
    together = find_shortcuts(facts, labels, ("a", "b"), [row // 6 for row in range(180)], permutations=99)
    assert (apart["classes"]["a"].get("p_value"), apart["groups"]) == (0.01, 180)
    assert (together["classes"]["a"].get("p_value") or 0) > 0.05
    assert (together["verdict"], together["groups"]) == ("none", 30)


def test_few_images_are_not_tested() -> None:
    count = 2 * FEWEST_GROUPS
    facts, labels = noise(count, 0), [0] * (FEWEST_GROUPS + 1) + [1] * (FEWEST_GROUPS - 1)
    found = find_shortcuts(facts, labels, ("a", "b"), range(count))
    assert (found["verdict"], found["classes"]["b"]) == (
        "untested",
        {"verdict": "untested", "images": FEWEST_GROUPS - 1, "facts": []},
    )
    copies = find_shortcuts(noise(60, 0), [row % 2 for row in range(60)], ("a", "b"), [row // 7 for row in range(60)])
    assert copies["verdict"] == "untested"
    assert find_shortcuts([], [], ("a", "b"), [])["verdict"] == "untested"


def test_result_is_the_same_each_time_and_of_a_sample_of_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, labels = noise(300, 0), [row % 3 for row in range(300)]
    first = find_shortcuts(facts, labels, ("a", "b", "c"), range(300), permutations=19)
    assert first == find_shortcuts(facts, labels, ("a", "b", "c"), range(300), permutations=19)
    assert first["permutations"] == 119  # so that the smallest p-value, times the classes, is half of 0.05
    monkeypatch.setattr("ctonnx_train.audit.shortcuts.MOST_IMAGES", 90)
    assert find_shortcuts(facts, labels, ("a", "b", "c"), range(300))["images"] == 90


def test_facts_that_are_missing_or_all_the_same_are_no_error() -> None:
    facts: list[Facts] = [{"kvp": 120.0, "jpeg_quality": 75.0} if row % 2 else {"kvp": 120.0} for row in range(60)]
    found = find_shortcuts(facts, [row % 2 for row in range(60)], ("a", "b"), range(60), permutations=99)
    assert found["classes"]["a"]["verdict"] == "strong"
    same = find_shortcuts([{"kvp": 120.0}] * 60, [row % 2 for row in range(60)], ("a", "b"), range(60), permutations=99)
    assert (same["verdict"], same["classes"]["a"].get("auroc")) == ("none", 0.5)


def test_facts_of_a_scan_are_those_of_the_image() -> None:
    from ctonnx.images.loading import load_with_origin

    assert image_facts(*load_with_origin(np.zeros((8, 8), np.uint8)))["format"] == "array"
