"""Generated datasets of phantoms: layout, reproducibility and description."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from ctonnx.errors import DataError
from ctonnx_train.data.phantom.phantom_set import MARKER, PhantomSet, generate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSet:
    return generate(tmp_path_factory.mktemp("phantom") / "set", seed=3, per_class=5, size=64)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folders_have_the_two_spellings_of_the_kaggle_set(made: PhantomSet) -> None:
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


def test_each_class_has_three_fifths_of_its_images_in_train(made: PhantomSet) -> None:
    assert made.images == 20
    assert made.per_split == {"train": 12, "valid": 4, "test": 4}
    for split, count in {"train": 3, "valid": 1, "test": 1}.items():
        assert [len(list(folder.iterdir())) for folder in (made.folder / split).iterdir()] == [count] * 4


def test_three_of_a_class_are_enough_for_one_in_each_split(tmp_path: Path) -> None:
    assert generate(tmp_path, per_class=3, size=64).per_split == {"train": 4, "valid": 4, "test": 4}


def test_file_names_are_numbered_through_the_whole_set(made: PhantomSet) -> None:
    names = sorted(path.name for path in made.folder.rglob("*.png"))
    assert names == [f"phantom_{number:06d}.png" for number in range(1, 21)]


def test_every_image_is_grey_has_the_size_and_is_described_as_synthetic(made: PhantomSet) -> None:
    for path in made.folder.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert image.info == {"Description": "Synthetic CT phantom made by ctonnx; not a patient"}


def test_root_describes_the_set_and_how_it_was_made(made: PhantomSet) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "README.txt",
        "phantom.json",
        "test",
        "train",
        "valid",
    ]
    text = (made.folder / MARKER).read_text(encoding="utf-8")
    settings = {"generator": "ctonnx data phantom", "per_class": 5, "seed": 3, "size": 64, "synthetic": True}
    assert text == json.dumps(settings, indent=2) + "\n"
    assert "no clinical meaning" in (made.folder / "README.txt").read_text(encoding="utf-8")


def test_no_two_images_are_the_same(made: PhantomSet) -> None:
    pixels = {Image.open(path).tobytes() for path in made.folder.rglob("*.png")}
    assert len(pixels) == 20


def test_the_same_seed_gives_the_same_bytes(made: PhantomSet, tmp_path: Path) -> None:
    again = generate(tmp_path / "again", seed=3, per_class=5, size=64)
    assert files(again.folder) == files(made.folder)


def test_another_seed_gives_other_images(made: PhantomSet, tmp_path: Path) -> None:
    other = generate(tmp_path / "other", seed=4, per_class=5, size=64)
    ours, theirs = files(made.folder), files(other.folder)
    assert ours.keys() == theirs.keys()
    assert not {ours[name] for name in ours if name.endswith(".png")} & set(theirs.values())


def test_more_images_per_class_keep_those_that_a_smaller_set_has(made: PhantomSet, tmp_path: Path) -> None:
    larger = generate(tmp_path / "larger", seed=3, per_class=6, size=64)
    ours, theirs = (set(files(folder / "train").values()) for folder in (made.folder, larger.folder))
    assert ours < theirs


def test_progress_counts_up_to_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate(tmp_path / "set", per_class=3, size=64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", per_class=3, size=64, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_text("kept", encoding="utf-8")
    message = f'expected "{tmp_path}" to be new or an empty folder, found "scan.dcm" in it; choose another folder'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        generate(tmp_path, per_class=5, size=64)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_instead_of_the_folder_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "set"
    file.write_text("kept", encoding="utf-8")
    message = f'expected "{file}" to be new or an empty folder, found a file; choose another folder'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        generate(file, per_class=5, size=64)


def test_files_written_to_the_folder_in_the_meantime_are_not_replaced(tmp_path: Path) -> None:
    def meanwhile(done: int, total: int) -> None:
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / "scan.dcm").write_text("kept", encoding="utf-8")

    with pytest.raises(DataError, match=r'found "scan\.dcm" in it'):
        generate(tmp_path / "set", per_class=3, size=64, progress=meanwhile)
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
        generate(
            tmp_path / "set", per_class=given.get("per_class", 3), seed=given.get("seed", 0), size=given.get("size", 64)
        )
    assert list(tmp_path.iterdir()) == []
