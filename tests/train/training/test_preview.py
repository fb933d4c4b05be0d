"""The contact sheet of the network's input."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.training.preview import write_preview
from ctonnx_train.training.recipe import AugmentationKind

ImagesIn = Callable[[Path, Mapping[str, int]], Path]

SIZE, GAP, TITLE = 32, 4, 24
STEP = SIZE + GAP


@pytest.fixture
def data(images_in: ImagesIn, tmp_path: Path) -> Path:
    """A class of three training images and one of a single one."""
    return images_in(tmp_path / "scans", {"train/a": 3, "train/b": 1, "valid/a": 1, "valid/b": 1})


def sheet(data: Path, file: Path, *, seed: int = 0, preprocessing: Preprocessing | None = None) -> np.ndarray:
    write_preview(file, read_data(data), preprocessing=preprocessing or Preprocessing(size=SIZE), seed=seed)
    with Image.open(file) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def cell(pixels: np.ndarray, row: int, column: int, titles: int) -> np.ndarray:
    """Returns an image of the sheet; `titles` of classes are above its row."""
    top = TITLE + titles * TITLE + row * STEP
    left = GAP + column * STEP + (GAP if column else 0)
    return pixels[top : top + SIZE, left : left + SIZE]


def test_a_sheet_shows_two_images_of_each_class_as_they_are_and_seven_augmented_ones(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sheet.png"
    assert write_preview(file, read_data(data), preprocessing=Preprocessing(size=SIZE)) == 3
    pixels = np.asarray(Image.open(file))
    assert pixels.shape == (TITLE + 3 * STEP + 2 * TITLE + GAP, GAP + 8 * STEP + GAP, 3)
    stored = {
        name: {
            to_pixels(load(image), Preprocessing(size=SIZE)).tobytes() for image in (data / "train" / name).iterdir()
        }
        for name in "ab"
    }
    for row, (titles, name) in enumerate([(1, "a"), (1, "a"), (2, "b")]):
        shown = [cell(pixels, row, column, titles).tobytes() for column in range(8)]
        assert shown[0] in stored[name]
        assert len(set(shown)) == 8
    assert cell(pixels, 0, 0, 1).tobytes() != cell(pixels, 1, 0, 1).tobytes()


def test_the_seed_chooses_the_images_and_the_changes(data: Path, tmp_path: Path) -> None:
    first, again, other = (sheet(data, tmp_path / f"{name}.png", seed=seed) for name, seed in enumerate((0, 0, 1)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_colour_is_shown_where_the_network_sees_it(data: Path, tmp_path: Path) -> None:
    for image in (data / "train").rglob("*.png"):
        Image.new("RGB", (40, 40), (200, 40, 90)).save(image)
    colour = sheet(data, tmp_path / "rgb.png", preprocessing=Preprocessing(size=SIZE, color="rgb"))
    assert cell(colour, 0, 0, 1)[5, 5].tolist() == [200, 40, 90]
    grey = cell(sheet(data, tmp_path / "grey.png"), 0, 0, 1)
    assert len(set(grey[5, 5].tolist())) == 1


def test_the_classes_have_the_names_that_training_gives_them(data: Path, tmp_path: Path) -> None:
    write_preview(tmp_path / "a.png", read_data(data), preprocessing=Preprocessing(size=SIZE))
    renaming = read_data(data, class_names={"a": "zebra"})
    write_preview(tmp_path / "b.png", renaming, preprocessing=Preprocessing(size=SIZE))
    first, renamed = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert cell(renamed, 0, 0, 1).tobytes() == cell(first, 2, 0, 2).tobytes()  # b is now the first class


@pytest.mark.parametrize(("name", "shown"), [("\u03b2", "\u03b2"), ("\u80ba", r"\u80ba")])
def test_names_in_other_scripts_are_in_a_font_that_has_them_or_are_codes(
    name: str, shown: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx_train.evaluation.drawing.fonts.families", lambda: ("DejaVu Sans",))
    renamed = read_data(data, class_names={"a": name})  # the second class
    write_preview(tmp_path / "sheet.png", renamed, preprocessing=Preprocessing(size=SIZE))
    top = 2 * TITLE + STEP
    title = np.asarray(Image.open(tmp_path / "sheet.png"))[top : top + TITLE]
    expected = Image.new("RGB", (title.shape[1], TITLE), (72, 72, 72))
    font = ImageFont.truetype(findfont("DejaVu Sans"), 14)
    ImageDraw.Draw(expected).text((GAP, 4), shown, font=font, fill=(255, 255, 255))
    np.testing.assert_array_equal(title, np.asarray(expected))


def test_an_unreadable_image_is_named_and_no_sheet_is_left(data: Path, tmp_path: Path) -> None:
    (data / "train" / "b" / "scan 0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"scan 0\.png: the file is empty"):
        write_preview(tmp_path / "sheet.png", read_data(data), preprocessing=Preprocessing(size=SIZE))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scans"]


def test_a_folder_that_is_not_there_is_an_os_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_preview(tmp_path / "nowhere" / "sheet.png", read_data(data), preprocessing=Preprocessing(size=SIZE))


def test_augmentation_from_scratch_is_weaker_and_the_sheet_shows_it(data: Path, tmp_path: Path) -> None:
    sheets = []
    for weights in ("imagenet", "none"):
        file = tmp_path / f"{weights}.png"
        write_preview(file, read_data(data), preprocessing=Preprocessing(size=SIZE), weights=weights)
        sheets.append(np.asarray(Image.open(file)).astype(int))
    full, weak = sheets
    np.testing.assert_array_equal(cell(full, 0, 0, 1), cell(weak, 0, 0, 1))
    assert not np.array_equal(cell(full, 0, 1, 1), cell(weak, 0, 1, 1))


def test_the_sheet_shows_the_kind_of_augmentation_that_is_asked_for(data: Path, tmp_path: Path) -> None:
    sheets = []
    for kind in get_args(AugmentationKind):
        file = tmp_path / f"{kind}.png"
        write_preview(file, read_data(data), preprocessing=Preprocessing(size=SIZE), kind=kind)
        sheets.append(np.asarray(Image.open(file)))
    assert len(sheets) == 2
    np.testing.assert_array_equal(cell(sheets[0], 0, 0, 1), cell(sheets[1], 0, 0, 1))
    assert not np.array_equal(cell(sheets[0], 0, 1, 1), cell(sheets[1], 0, 1, 1))
