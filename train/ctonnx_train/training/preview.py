"""A contact sheet of the network's input: training images as they are, and augmented."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.images import Preprocessing
from ctonnx.system.files import atomic_file
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.network.pretrained import IMAGENET
from ctonnx_train.training.loop.acquisition import Acquisition
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.recipe import AugmentationKind, TrainSettings, plan

__all__ = ["write_preview"]

_IMAGES_OF_CLASS = 2
_CHANGED = 7
_GAP = 4
_TITLE = 24
_WHITE, _GREY = 255, 72


def write_preview(
    file: Path,
    data: Dataset,
    *,
    preprocessing: Preprocessing,
    seed: int = 0,
    weights: str = IMAGENET,
    kind: AugmentationKind = TrainSettings.augmentation,
) -> int:
    """Writes a PNG with two training images of each class, each in a row with seven augmented versions.

    The seed determines the choice and the augmentation of the images, the initial weights of the training the strength
    of its augmentation and `kind` what it changes. Returns the number of images shown.

    Raises:
        DataError: If images cannot be read.
        OSError: If the file cannot be written.
    """
    order = np.random.default_rng(seed)
    chosen = []
    for label in range(len(data.classes)):
        samples = [sample for sample in data.splits["train"] if sample.label == label]
        chosen += [samples[row] for row in order.permutation(len(samples))[:_IMAGES_OF_CLASS]]
    pixels = PixelStore(open_source(data.root), chosen, preprocessing).take(range(len(chosen)))
    torch.manual_seed(seed)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    strength = plan(TrainSettings(weights=weights))[0].augmentation
    augmentation = Augmentation.of_strength(strength, acquisition=Acquisition() if kind == "acquisition" else None)
    changed = [augmentation(images).round().byte().permute(0, 2, 3, 1).numpy() for _ in range(_CHANGED)]
    rows = [[version[position] for version in (pixels, *changed)] for position in range(len(chosen))]
    sheet = _sheet(rows, [data.classes[sample.label] for sample in chosen], preprocessing.size)
    with atomic_file(file) as temporary:
        sheet.save(temporary, format="PNG")
    return len(chosen)


def _sheet(rows: list[list[NDArray[np.uint8]]], titles: list[str], size: int) -> Image.Image:
    """Returns the rows of images below each other, with each class's name above its first row."""
    step = size + _GAP
    first = [row == 0 or title != titles[row - 1] for row, title in enumerate(titles)]
    height = _TITLE + len(rows) * step + sum(first) * _TITLE
    sheet = Image.new("RGB", (_GAP + (1 + _CHANGED) * step + _GAP, height + _GAP), (_GREY,) * 3)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP, 4), "image")
    _write(draw, (2 * _GAP + step, 4), "augmented")
    top = _TITLE
    for images, title, is_first in zip(rows, titles, first, strict=True):
        if is_first:
            _write(draw, (_GAP, top + 4), title)
            top += _TITLE
        for column, image in enumerate(images):
            picture = Image.fromarray(np.broadcast_to(image, (size, size, 3)).copy())
            sheet.paste(picture, (_GAP + column * step + (_GAP if column else 0), top))
        top += step
    return sheet


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str) -> None:
    """Writes text in Pillow's font, or in an installed font that has the letters of other scripts."""
    font = ImageFont.load_default(size=14)
    if not text.isascii():
        from ctonnx_train.evaluation.drawing.fonts import drawable, font_file  # loads matplotlib

        text = drawable(text)
        font = ImageFont.truetype(font_file(text), 14)
    draw.text(place, text, font=font, fill=(_WHITE,) * 3)
