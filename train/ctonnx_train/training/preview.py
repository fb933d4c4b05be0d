"""A contact sheet of what the network sees: training images as they are, and as augmentation changes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.images import Preprocessing
from ctonnx.system.files import atomic_file
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.network.pretrained import IMAGENET
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.recipe import TrainSettings, plan

__all__ = ["write_preview"]

_IMAGES_OF_CLASS = 2
_CHANGED = 7
_GAP = 4
_TITLE = 24
_WHITE, _GREY = 255, 72


def write_preview(
    file: Path,
    data: Path,
    *,
    preprocessing: Preprocessing,
    class_names: Mapping[str, str] | None = None,
    seed: int = 0,
    weights: str = IMAGENET,
) -> int:
    """Writes the sheet as PNG: for two images of each class, the image and seven augmented ones in a row.

    Args:
        file: to write.
        data: See `ctonnx_train.data.image_folder.read_data`.
        preprocessing: The network's input.
        class_names: Canonical names for class folders, by the folder's name.
        seed: Chooses the images and the changes.
        weights: that the training would start from, on which its augmentation depends.

    Returns:
        how many images are shown.

    Raises:
        DataError: The data cannot be used.
        OSError: The file cannot be written.
    """
    found = read_data(data, class_names=class_names)
    order = np.random.default_rng(seed)
    chosen = []
    for label in range(len(found.classes)):
        samples = [sample for sample in found.splits["train"] if sample.label == label]
        chosen += [samples[row] for row in order.permutation(len(samples))[:_IMAGES_OF_CLASS]]
    pixels = PixelStore(open_source(found.root), chosen, preprocessing).take(range(len(chosen)))
    torch.manual_seed(seed)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    augmentation = Augmentation.of_strength(plan(TrainSettings(weights=weights))[0].augmentation)
    changed = [augmentation(images).round().byte().permute(0, 2, 3, 1).numpy() for _ in range(_CHANGED)]
    rows = [[version[position] for version in (pixels, *changed)] for position in range(len(chosen))]
    sheet = _sheet(rows, [found.classes[sample.label] for sample in chosen], preprocessing.size)
    with atomic_file(file) as temporary:
        sheet.save(temporary, format="PNG")
    return len(chosen)


def _sheet(rows: list[list[NDArray[np.uint8]]], titles: list[str], size: int) -> Image.Image:
    """Returns the rows of images below each other, each class's first row under its name."""
    step = size + _GAP
    first = [row == 0 or title != titles[row - 1] for row, title in enumerate(titles)]
    height = _TITLE + len(rows) * step + sum(first) * _TITLE
    sheet = Image.new("RGB", (_GAP + (1 + _CHANGED) * step + _GAP, height + _GAP), (_GREY,) * 3)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    draw.text((_GAP, 4), "image", font=font, fill=(_WHITE,) * 3)
    draw.text((2 * _GAP + step, 4), "augmented", font=font, fill=(_WHITE,) * 3)
    top = _TITLE
    for images, title, is_first in zip(rows, titles, first, strict=True):
        if is_first:
            draw.text((_GAP, top + 4), title, font=font, fill=(_WHITE,) * 3)
            top += _TITLE
        for column, image in enumerate(images):
            picture = Image.fromarray(np.broadcast_to(image, (size, size, 3)).copy())
            sheet.paste(picture, (_GAP + column * step + (_GAP if column else 0), top))
        top += step
    return sheet
