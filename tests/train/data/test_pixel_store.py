"""Images decoded once: their digests, the images kept in memory, and errors for unreadable ones."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.errors import DataError, ImageError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx.prediction.cautions import caution_of
from ctonnx_train.data.pixel_store import PixelStore, pixel_digest, unreadable_error
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample

SMALL = Preprocessing(size=32)
GREY_BYTES = 32 * 32
"""Bytes of one image in memory."""


def coloured(seed: int = 0, height: int = 40, width: int = 56) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def grey(seed: int = 0, height: int = 40, width: int = 56) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with five images, `0.png` to `4.png`: the even ones grey, the others in colour."""
    for number in range(5):
        (coloured if number % 2 else grey)(number).save(tmp_path / f"{number}.png")
    return tmp_path


def store(root: Path, preprocessing: Preprocessing = SMALL, **options: Any) -> PixelStore:
    samples = [Sample(file.name, 0) for file in sorted(root.iterdir())]
    return PixelStore(open_source(root), samples, preprocessing, **options)


def expected(root: Path, rows: Sequence[int], preprocessing: Preprocessing = SMALL) -> np.ndarray[Any, Any]:
    """Returns the files' pixels as preprocessed for prediction."""
    return np.stack([to_pixels(load(root / f"{row}.png"), preprocessing) for row in rows])


def test_warnings_are_those_of_the_prediction_and_noted_when_the_store_is_created(scans: Path) -> None:
    Image.new("L", (40, 40), 7).save(scans / "5.png")
    found = store(scans, limit=0)
    samples = [Sample(f"{number}.png", 0) for number in range(6)]
    assert found.cautions(samples, None) == [None] * 5 + ["the image is blank: one value everywhere"]


def test_model_with_a_range_of_brightness_has_the_warnings_of_its_predictions(scans: Path) -> None:
    for name, grey in (("5.png", 7), ("6.png", 16)):
        image = np.full((40, 40), grey, np.uint8)
        image[:20] += grey % 2  # the first is not quite blank, the second is
        Image.fromarray(image).save(scans / name)
    found = store(scans)
    samples = [Sample(f"{number}.png", 0) for number in range(7)]
    known = BrightnessRange(low=60, high=200, images=9)
    cautions = found.cautions(samples, known)
    expected = [caution_of(scan, to_pixels(scan, SMALL), SMALL, known) for scan in map(load, sorted(scans.iterdir()))]
    assert cautions == expected
    assert [caution and caution[:19] for caution in cautions[5:]] == ["far darker than the", "the image is blank:"]


def test_chosen_images_are_described_when_the_store_is_created_and_only_then(scans: Path) -> None:
    found = store(scans, limit=0, describe=lambda scan, origin, pixels: (scan, origin, pixels), described=[1, 3])
    assert sorted(found.descriptions) == ["1.png", "3.png"]
    scan, origin, pixels = found.descriptions["1.png"]
    assert (scan.size, origin.format) == ((56, 40), "PNG")
    np.testing.assert_array_equal(pixels, expected(scans, [1])[0])
    found.descriptions.clear()
    found.take([0, 1, 2, 3, 4])
    assert found.descriptions == {}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scan.png", {}),
        ("scan.bmp", {}),
        ("scan.tif", {}),
        ("scan.tif", {"compression": "tiff_lzw"}),
        ("scan.ppm", {}),
        ("scan.webp", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("image", [grey(), coloured()], ids=["grey", "colour"])
def test_digest_is_the_same_in_every_lossless_format(
    name: str, options: dict[str, Any], image: Image.Image, tmp_path: Path
) -> None:
    image.save(tmp_path / name, **options)
    assert pixel_digest(load(tmp_path / name).image) == pixel_digest(image)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_digest_of_a_grey_image_is_the_same_in_every_mode(mode: str, tmp_path: Path) -> None:
    grey().convert(mode).save(tmp_path / "scan.png")
    with Image.open(tmp_path / "scan.png") as image:
        assert image.mode == mode
    assert pixel_digest(load(tmp_path / "scan.png").image) == pixel_digest(grey())


def test_digest_of_a_decoded_jpeg_is_that_of_a_png_copy_of_it(tmp_path: Path) -> None:
    grey().save(tmp_path / "scan.jpg", quality=70)
    decoded = load(tmp_path / "scan.jpg").image
    decoded.save(tmp_path / "scan.png")
    assert pixel_digest(load(tmp_path / "scan.png").image) == pixel_digest(decoded) != pixel_digest(grey())


def test_digest_is_a_known_value() -> None:
    pixels = bytes([0, 0, 0, 128, 128, 128])
    digest = hashlib.sha256(b"2x1:" + pixels).hexdigest()
    assert pixel_digest(Image.fromarray(np.array([[0, 128]], np.uint8))) == digest


def test_digest_distinguishes_one_changed_value_and_another_shape_of_the_same_bytes() -> None:
    pixels = np.asarray(coloured()).copy()
    wide = pixels.reshape(56, 40, 3)
    changed = pixels.copy()
    changed[20, 20, 1] ^= 1
    assert len({pixel_digest(Image.fromarray(array)) for array in (pixels, wide, changed)}) == 3


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_store_gives_grey_images_in_one_channel_as_prediction_sees_them(resize: Any, scans: Path) -> None:
    preprocessing = Preprocessing(size=32, resize=resize)
    pixels = store(scans, preprocessing).take([4, 0, 1])
    assert (pixels.shape, pixels.dtype.name) == ((3, 32, 32, 1), "uint8")
    np.testing.assert_array_equal(np.repeat(pixels, 3, axis=3), expected(scans, [4, 0, 1], preprocessing))


def test_store_gives_colour_images_in_three_channels(scans: Path) -> None:
    preprocessing = Preprocessing(size=32, color="rgb")
    pixels = store(scans, preprocessing).take(range(5))
    np.testing.assert_array_equal(pixels, expected(scans, range(5), preprocessing))
    assert pixels[1].std(axis=2).any()


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (None, 5),
        (10**9, 5),
        (5 * GREY_BYTES, 5),
        (5 * GREY_BYTES - 1, 4),
        (2 * GREY_BYTES, 2),
        (GREY_BYTES - 1, 0),
        (0, 0),
    ],
)
def test_store_keeps_images_up_to_the_limit_and_returns_the_same_pixels(
    limit: int | None, kept: int, scans: Path
) -> None:
    images = store(scans, limit=limit)
    assert (images.kept, len(images)) == (kept, 5)
    for rows in ([0, 1], [4], [3, 0, 4, 1], [2, 2, 4, 4], []):
        pixels = images.take(rows)
        assert (pixels.shape, pixels.dtype.name) == ((len(rows), 32, 32, 1), "uint8")
        if rows:
            np.testing.assert_array_equal(np.repeat(pixels, 3, axis=3), expected(scans, rows))


def test_limit_counts_three_channels_for_colour(scans: Path) -> None:
    assert store(scans, Preprocessing(size=32, color="rgb"), limit=6 * GREY_BYTES).kept == 2


def test_kept_images_are_not_decoded_again_and_the_others_are(scans: Path) -> None:
    images = store(scans, limit=3 * GREY_BYTES)
    before = images.take(range(5))
    for number in range(5):
        Image.new("L", (40, 40), 77).save(scans / f"{number}.png")
    after = images.take(range(5))
    np.testing.assert_array_equal(after[:3], before[:3])
    assert np.unique(after[3:]).tolist() == [77]


def test_image_that_is_not_kept_and_was_deleted_is_a_data_error(scans: Path) -> None:
    images = store(scans, limit=4 * GREY_BYTES)
    for number in range(5):
        (scans / f"{number}.png").unlink()
    assert images.take([3]).shape == (1, 32, 32, 1)
    message = (
        f"expected 5 readable images, found 1 that is not: {scans / '4.png'}: cannot be read: no such file; "
        "fix these files or move them out of the data folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        images.take([0, 4])


@pytest.mark.parametrize("limit", [None, 0])
def test_digests_are_of_the_images_before_resizing_whether_kept_or_not(limit: int | None, scans: Path) -> None:
    wanted = {f"{number}.png": pixel_digest(load(scans / f"{number}.png").image) for number in range(5)}
    for preprocessing in (SMALL, Preprocessing(size=48, color="rgb", resize="pad")):
        assert store(scans, preprocessing, limit=limit).digests == wanted


def test_progress_is_reported_after_each_image(scans: Path) -> None:
    steps: list[int] = []
    store(scans, progress=steps.append)
    assert steps == [1] * 5


@pytest.mark.parametrize("limit", [None, 0])
def test_unreadable_images_are_named_before_training(limit: int | None, scans: Path) -> None:
    (scans / "1.png").write_bytes((scans / "1.png").read_bytes()[:500])
    (scans / "3.png").write_text("not an image", encoding="utf-8")
    steps: list[int] = []
    with pytest.raises(DataError) as caught:
        store(scans, limit=limit, progress=steps.append)
    first, second, advice = str(caught.value).split("; ")
    assert first.startswith(f"expected 5 readable images, found 2 that are not: {scans / '1.png'}: damaged image: ")
    assert second == f"{scans / '3.png'}: not an image in a format that can be read, but a text file"
    assert advice == "fix these files or move them out of the data folder"
    assert steps == [1] * 5


def test_no_more_than_three_unreadable_images_are_listed() -> None:
    errors = [ImageError("empty", f"{number}.png") for number in range(4)]
    assert str(unreadable_error(errors[:3], 9)) == (
        "expected 9 readable images, found 3 that are not: 0.png: empty; 1.png: empty; 2.png: empty; "
        "fix these files or move them out of the data folder"
    )
    assert str(unreadable_error(errors, 9)) == (
        "expected 9 readable images, found 4 that are not: 0.png: empty; 1.png: empty; 2.png: empty; ...; "
        "fix these files or move them out of the data folder"
    )


def test_rows_of_an_npz_file_are_stored_too(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images)
    samples = [Sample(f"train_images/{row}", 0) for row in (3, 1)]
    kept = PixelStore(open_source(tmp_path / "set.npz"), samples, SMALL)
    np.testing.assert_array_equal(kept.take([1])[0], to_pixels(load(images[1]), SMALL)[:, :, :1])
    assert kept.digests["train_images/3"] == pixel_digest(Image.fromarray(images[3]))
