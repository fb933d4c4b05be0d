"""The phantom set: its layout, reproducibility and description, and classes that can be distinguished."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ctonnx.errors import DataError
from ctonnx_train.data import phantom


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> phantom.PhantomSet:
    return phantom.generate(tmp_path_factory.mktemp("phantom") / "set", seed=3, per_class=5, size=64)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lesion_difference(kind: str, seed: int, size: int = 128) -> npt.NDArray[np.int16]:
    lesion, normal = (
        np.asarray(phantom.draw(name, np.random.default_rng(seed), size), dtype=np.int16) for name in (kind, "normal")
    )
    return lesion - normal


def extent(mask: npt.NDArray[np.bool_]) -> int:
    """Returns the longer side, in pixels, of the bounding box of the mask."""
    return max(int(np.ptp(along)) + 1 for along in np.nonzero(mask))


def test_the_folders_have_the_two_spellings_of_the_kaggle_set(made: phantom.PhantomSet) -> None:
    folders = sorted(path.relative_to(made.folder).as_posix() for path in made.folder.glob("*/*"))
    assert folders == [
        "test/cavitating",
        "test/large.central",
        "test/normal",
        "test/small.peripheral",
        "train/cavitating_right.lower.lobe_T2_N0_M0_Ib",
        "train/large.central_right.hilum_T3_N2_M0_IIIa",
        "train/normal",
        "train/small.peripheral_left.upper.lobe_T1_N0_M0_Ia",
        "valid/cavitating_right.lower.lobe_T2_N0_M0_Ib",
        "valid/large.central_right.hilum_T3_N2_M0_IIIa",
        "valid/normal",
        "valid/small.peripheral_left.upper.lobe_T1_N0_M0_Ia",
    ]


def test_each_class_has_three_fifths_of_its_images_in_train(made: phantom.PhantomSet) -> None:
    assert made.images == 20
    assert made.per_split == {"train": 12, "valid": 4, "test": 4}
    for split, count in {"train": 3, "valid": 1, "test": 1}.items():
        assert [len(list(folder.iterdir())) for folder in (made.folder / split).iterdir()] == [count] * 4


def test_three_of_a_class_are_enough_for_one_in_each_split(tmp_path: Path) -> None:
    assert phantom.generate(tmp_path, per_class=3, size=64).per_split == {"train": 4, "valid": 4, "test": 4}


def test_file_names_are_numbered_through_the_whole_set(made: phantom.PhantomSet) -> None:
    names = sorted(path.name for path in made.folder.rglob("*.png"))
    assert names == [f"phantom_{number:06d}.png" for number in range(1, 21)]


def test_every_image_is_grey_has_the_size_and_is_described_as_synthetic(made: phantom.PhantomSet) -> None:
    for path in made.folder.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert image.info == {"Description": "Synthetic CT phantom made by ctonnx; not a patient"}


def test_root_describes_the_set_and_how_it_was_made(made: phantom.PhantomSet) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "README.txt",
        "phantom.json",
        "test",
        "train",
        "valid",
    ]
    text = (made.folder / phantom.MARKER).read_text(encoding="utf-8")
    settings = {"generator": "ctonnx data phantom", "per_class": 5, "seed": 3, "size": 64, "synthetic": True}
    assert text == json.dumps(settings, indent=2) + "\n"
    assert "no clinical meaning" in (made.folder / "README.txt").read_text(encoding="utf-8")


def test_no_two_images_are_the_same(made: phantom.PhantomSet) -> None:
    pixels = {Image.open(path).tobytes() for path in made.folder.rglob("*.png")}
    assert len(pixels) == 20


def test_the_same_seed_gives_the_same_bytes(made: phantom.PhantomSet, tmp_path: Path) -> None:
    again = phantom.generate(tmp_path / "again", seed=3, per_class=5, size=64)
    assert files(again.folder) == files(made.folder)


def test_another_seed_gives_other_images(made: phantom.PhantomSet, tmp_path: Path) -> None:
    other = phantom.generate(tmp_path / "other", seed=4, per_class=5, size=64)
    ours, theirs = files(made.folder), files(other.folder)
    assert ours.keys() == theirs.keys()
    assert not {ours[name] for name in ours if name.endswith(".png")} & set(theirs.values())


def test_more_images_per_class_keep_those_that_a_smaller_set_has(made: phantom.PhantomSet, tmp_path: Path) -> None:
    larger = phantom.generate(tmp_path / "larger", seed=3, per_class=6, size=64)
    ours, theirs = (set(files(folder / "train").values()) for folder in (made.folder, larger.folder))
    assert ours < theirs


def test_progress_counts_up_to_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    phantom.generate(tmp_path / "set", per_class=3, size=64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phantom.generate(tmp_path / "set", per_class=3, size=64, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_text("kept", encoding="utf-8")
    message = f'expected "{tmp_path}" to be new or an empty folder, found "scan.dcm" in it; choose another folder'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        phantom.generate(tmp_path, per_class=5, size=64)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_instead_of_the_folder_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "set"
    file.write_text("kept", encoding="utf-8")
    message = f'expected "{file}" to be new or an empty folder, found a file; choose another folder'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        phantom.generate(file, per_class=5, size=64)


def test_files_written_to_the_folder_in_the_meantime_are_not_replaced(tmp_path: Path) -> None:
    def meanwhile(done: int, total: int) -> None:
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / "scan.dcm").write_text("kept", encoding="utf-8")

    with pytest.raises(DataError, match=r'found "scan\.dcm" in it'):
        phantom.generate(tmp_path / "set", per_class=3, size=64, progress=meanwhile)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "scan.dcm"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"per_class": 2}, "expected per_class of 3 or more, found 2; give a larger per_class"),
        ({"size": 63}, "expected size of 64 or more, found 63; give a larger size"),
        ({"seed": -1}, "expected seed of 0 or more, found -1; give a larger seed"),
    ],
)
def test_a_number_out_of_range_is_rejected(given: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        phantom.generate(
            tmp_path / "set", per_class=given.get("per_class", 3), seed=given.get("seed", 0), size=given.get("size", 64)
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_rejected() -> None:
    message = 'expected one of normal, small.peripheral, large.central, cavitating, found "benign"; choose one of them'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        phantom.draw("benign", np.random.default_rng(0))


def test_a_slice_has_dark_lungs_on_both_sides_of_a_bright_mediastinum_and_spine() -> None:
    slices = [np.asarray(phantom.draw("normal", np.random.default_rng(seed), 128)) for seed in range(8)]
    mean = np.mean(slices, axis=0)
    right_lung, left_lung, heart, spine = mean[56:72, 30:45], mean[56:72, 86:98], mean[48:60, 62:76], mean[82:88, 61:67]
    assert max(right_lung.mean(), left_lung.mean()) < 130
    assert min(heart.mean(), spine.mean()) > 190
    assert mean[:4, :4].max() < 10


@pytest.mark.parametrize("seed", range(4))
def test_lesions_differ_in_size_from_class_to_class(seed: int) -> None:
    small, cavity, large = (
        extent(lesion_difference(kind, seed) > 40) for kind in ("small.peripheral", "cavitating", "large.central")
    )
    assert small <= 18 < cavity <= 34
    assert large > 20


@pytest.mark.parametrize("seed", range(4))
def test_only_a_cavity_is_darker_inside_than_the_lung_that_it_replaces(seed: int) -> None:
    darker = {kind: lesion_difference(kind, seed) < -12 for kind in phantom.CLASSES[1:]}
    ring = lesion_difference("cavitating", seed) > 40
    assert darker["small.peripheral"].sum() + darker["large.central"].sum() < 10
    assert darker["cavitating"].sum() > 60
    for hole, wall in zip(np.nonzero(darker["cavitating"]), np.nonzero(ring), strict=True):
        assert wall.min() < hole.mean() < wall.max()


def test_the_label_is_at_the_same_place_in_every_class() -> None:
    corners = {
        kind: np.asarray(phantom.draw(kind, np.random.default_rng(1), 256))[240:, :90] for kind in phantom.CLASSES
    }
    assert corners["normal"].max() > 100
    for kind in phantom.CLASSES:
        np.testing.assert_array_equal(corners[kind], corners["normal"])
