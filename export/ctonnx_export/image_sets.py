"""Which images calibrate a quantized model, and which it is then compared on: never the same, by their pixels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import Source, open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.runs.checkpoint import Checkpoint

__all__ = [
    "BATCH",
    "ImageSet",
    "balanced",
    "calibration_images",
    "golden_rows",
    "held_out_images",
    "shown",
    "validation_images",
]


BATCH = 16
"""Images that a model is given at a time."""

_IN_MEMORY = 256_000_000  # bytes of pixels; what is more is decoded again each time
_UNKNOWN = -1
_SHARE = Fraction(2, 3)  # of each class of the run's training images


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images, decoded as the predictor would, a few at a time.

    Attributes:
        store: where they are.
        samples: Their paths and labels; the label is -1 where none is known.
        missing: how many fewer they are than were asked for.
    """

    store: PixelStore
    samples: tuple[Sample, ...]
    missing: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image, or -1."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @property
    def digests(self) -> frozenset[str]:
        """By which the images are known again under any name."""
        return frozenset(self.store.digests.values())

    def blank(self) -> int:
        """Returns how many of the images have one colour: they calibrate nothing."""
        return sum(int((np.ptp(pixels, axis=(1, 2)) == 0).all(axis=1).sum()) for pixels in self.batches())

    def pixels(self, rows: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
        """Returns some images: uint8 [rows, size, size, 3]."""
        pixels = self.store.take([int(row) for row in rows])
        return pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)

    def batches(self, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
        """Yields all images in their order, `count` at a time: uint8 [count, size, size, 3]."""
        for start in range(0, len(self), count):
            yield self.pixels(range(start, min(start + count, len(self))))


def validation_images(checkpoint: Checkpoint, root: Path) -> ImageSet:
    """Returns the run's validation images.

    Args:
        checkpoint: of the run.
        root: The folder or `.npz` file that holds them.

    Raises:
        DataError: Some are missing, or cannot be read.
    """
    samples = checkpoint.samples("valid")
    source = open_source(root)
    if missing := [sample.path for sample in samples if not source.has(sample.path)]:
        raise DataError(
            f"expected the run's {len(samples)} validation images in '{root}', found {len(missing)} missing "
            f"('{missing[0]}' first); name the folder or file that holds them with --data"
        )
    return _decode(source, samples, checkpoint.record.preprocessing)


def calibration_images(
    checkpoint: Checkpoint, root: Path, *, calibrate: Path | None, count: int, avoid: frozenset[str]
) -> ImageSet:
    """Returns images to calibrate on, as many of each class as of the others where there are enough.

    Args:
        checkpoint: of the run; its seed chooses.
        root: The folder or `.npz` file with the run's training images.
        calibrate: Other images to take: a data set, of which the training images are taken, or any folder of images;
            None takes the run's training images.
        count: how many to take; of the run's own images at most two thirds of each class, so that some of each are
            left to compare on.
        avoid: Digests of images that must not be among them: those that the model is judged by.

    Raises:
        DataError: there are none, some cannot be read, or all are blank.
    """
    if calibrate is None:
        source, samples = open_source(root), checkpoint.samples("train")
        there = [sample for sample in samples if source.has(sample.path)]
        if not there:
            raise DataError(
                f"expected the run's {len(samples)} training images in '{root}' to calibrate on, found none of them; "
                "name the folder that holds them with --data, or other images of this kind with --calibrate"
            )
        share = _SHARE
    else:
        source, there = _other_images(calibrate)
        share = Fraction(1)
    images = _choose(checkpoint, source, there, count, avoid, share)
    if images is None:
        raise DataError(
            f"expected images in '{calibrate or root}' that are not the run's validation images, found only those; "
            "calibrate on others, so that the model is judged by images that it was not made with"
        )
    if images.blank() == len(images):
        raise DataError(
            f"expected images in '{calibrate or root}' to calibrate on, found {len(images)} that have one colour each; "
            "calibrate on such as the model will see"
        )
    return replace(images, missing=count - len(images))


def held_out_images(
    checkpoint: Checkpoint, root: Path, *, count: int, avoid: frozenset[str], calibration: ImageSet | None = None
) -> ImageSet | None:
    """Returns training images that were not calibrated on, as far as they are there; None where none is.

    Args:
        checkpoint: of the run; its seed chooses.
        root: The folder or `.npz` file with the run's training images.
        count: how many at most.
        avoid: Digests of images that are compared anyway.
        calibration: what was calibrated on; None where nothing was.
    """
    source = open_source(root)
    used = set(calibration.samples) if calibration and calibration.store.source.root == source.root else set()
    there = [sample for sample in checkpoint.samples("train") if sample not in used and source.has(sample.path)]
    return _choose(checkpoint, source, there, count, avoid | (calibration.digests if calibration else frozenset()))


def _choose(
    checkpoint: Checkpoint,
    source: Source,
    samples: Sequence[Sample],
    count: int,
    avoid: frozenset[str],
    share: Fraction = Fraction(1),
) -> ImageSet | None:
    """Chooses and decodes images, without those whose pixels are to be avoided, each image once.

    What is known from the training spares decoding; what is decoded decides, as the files may have changed since.
    """
    known = checkpoint.digests_by_path("train")
    left = list({known.get(sample.path, sample.path): sample for sample in reversed(samples)}.values())
    left = sorted(sample for sample in left if known.get(sample.path) not in avoid)
    while left:
        chosen = balanced(left, count, checkpoint.record.settings["seed"], share)
        images = _decode(source, chosen, checkpoint.record.preprocessing)
        unwanted = {path for path, digest in images.store.digests.items() if digest in avoid}
        if not unwanted:
            return replace(images, missing=count - len(images))
        left = [sample for sample in left if sample.path not in unwanted]
    return None


def balanced(samples: Sequence[Sample], count: int, seed: int, share: Fraction = Fraction(1)) -> tuple[Sample, ...]:
    """Chooses samples at random, turn by turn from each class, and at most a share of each class; in their own order.

    >>> [sample.label for sample in balanced([Sample(str(row), int(row > 5)) for row in range(8)], 4, seed=0)]
    [0, 0, 1, 1]
    """
    most = {label: ceil(share * number) for label, number in Counter(sample.label for sample in samples).items()}
    order = np.random.default_rng(seed).permutation(len(samples))
    turn: Counter[int] = Counter()
    ranked = []
    for position in order:
        label = samples[position].label
        if turn[label] < most[label]:
            ranked.append((turn[label], label, int(position)))
            turn[label] += 1
    return tuple(samples[position] for position in sorted(position for _, _, position in sorted(ranked)[:count]))


def _other_images(root: Path) -> tuple[Source, list[Sample]]:
    """Returns the images of a data set, or of any folder: those whose class is not known are of none."""
    try:
        found = read_data(root)
        return open_source(found.root), list(found.splits["train"])
    except DataError:
        if not root.is_dir() or (root / "train").is_dir():
            raise  # a data set that has a fault, of which the other splits are not taken
        files = [Path(file) for file in list_files(root).files if is_scan(file)]
        if not files:
            raise DataError(
                f"expected images to calibrate on in '{root}', found none; name a data set or a folder of images"
            ) from None
        return open_source(root), [Sample(file.relative_to(root).as_posix(), _UNKNOWN) for file in files]


def _decode(source: Source, samples: Sequence[Sample], preprocessing: Preprocessing) -> ImageSet:
    return ImageSet(store=PixelStore(source, samples, preprocessing, limit=_IN_MEMORY), samples=tuple(samples))


_GOLDEN_IMAGES = 8


def golden_rows(labels: list[int]) -> NDArray[np.intp]:
    """Chooses up to eight images, turn by turn from each class, in the order of the split.

    >>> golden_rows([0] * 9 + [1]).tolist()
    [0, 1, 2, 3, 4, 5, 6, 9]
    """
    turns = sorted((labels[:row].count(label), label, row) for row, label in enumerate(labels))
    return np.array(sorted(row for _, _, row in turns[:_GOLDEN_IMAGES]), np.intp)


def shown(what: str, *parts: ImageSet, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
    """Yields the pixels of images, uint8 [images, size, size, 3]; on a terminal a bar tells how long it takes still.

    Args:
        what: is done with them.
        parts: The images.
        count: at a time, at most.
    """
    total = sum(map(len, parts))
    with tqdm(total=total, desc=what, unit="image", leave=False, disable=None) as bar:
        for part in parts:
            for pixels in part.batches(count):
                yield pixels
                bar.update(len(pixels))
