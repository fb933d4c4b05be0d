"""Images as tensors: decoded and resized once, kept as bytes, augmented on the way to the network."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from ctonnx.errors import DataError, ImageError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx_train.splits import Sample

__all__ = ["Augmentation", "PixelDataset", "decode"]

_SHOWN = 3


class Augmentation:
    """What training does to an image: rotation, zoom, shift, brightness and horizontal flip.

    Args:
        degrees: largest rotation to either side.
        zoom: largest relative change of size.
        shift: largest shift, as a share of width and height.
        brightness: largest relative change of brightness.
    """

    def __init__(
        self, *, degrees: float = 15.0, zoom: float = 0.15, shift: float = 0.08, brightness: float = 0.2
    ) -> None:
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(
                    degrees,
                    translate=(shift, shift),
                    scale=(1 - zoom, 1 + zoom),
                    interpolation=InterpolationMode.BILINEAR,
                ),
                v2.ColorJitter(brightness=brightness),
            ]
        )

    def __call__(self, image: Tensor) -> Tensor:
        """Returns a changed copy of a uint8 image [channels, height, width]; torch's generator draws the changes."""
        changed: Tensor = self._transform(image)
        return changed


class PixelDataset(Dataset[tuple[Tensor, int]]):
    """Labelled images in memory.

    Args:
        pixels: uint8 [images, size, size, channels].
        labels: class index of each image.
        augmentation: applied each time that an image is taken.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], labels: Sequence[int], augmentation: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self._images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        self._labels = list(labels)
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns a uint8 image [channels, size, size] and its label."""
        image = self._images[index]
        return (self._augmentation(image) if self._augmentation else image), self._labels[index]


def decode(
    root: Path, samples: Sequence[Sample], preprocessing: Preprocessing, progress: Callable[[int], object] | None = None
) -> NDArray[np.uint8]:
    """Decodes and resizes images, through the same code that prediction uses.

    Args:
        root: what the samples' paths start from.
        samples: the images, in order.
        preprocessing: size, colour and resize rule.
        progress: called with 1 after each image.

    Returns:
        uint8 [images, size, size, 3], or [images, size, size, 1] for grey preprocessing: one channel stands for three.

    Raises:
        DataError: images cannot be read; it names the first of them.
    """
    channels = 1 if preprocessing.color == "grey" else 3
    pixels = np.empty((len(samples), preprocessing.size, preprocessing.size, channels), np.uint8)
    errors: list[ImageError] = []

    def decoded() -> Iterator[NDArray[np.uint8] | ImageError]:
        with ThreadPoolExecutor(thread_name_prefix="ctonnx-decode") as pool:
            yield from pool.map(lambda sample: _decode_one(root / sample.path, preprocessing), samples)

    for row, result in enumerate(decoded()):
        if isinstance(result, ImageError):
            errors.append(result)
        else:
            pixels[row] = result[:, :, :channels]
        if progress:
            progress(1)
    if errors:
        shown = "; ".join(str(error) for error in errors[:_SHOWN]) + ("; ..." if len(errors) > _SHOWN else "")
        raise DataError(
            f"expected {len(samples)} readable images, found {len(errors)} that are not: {shown}; "
            "mend these files or move them out of the data folder"
        )
    return pixels


def _decode_one(file: Path, preprocessing: Preprocessing) -> NDArray[np.uint8] | ImageError:
    try:
        return to_pixels(load(file), preprocessing)
    except ImageError as error:
        return error
