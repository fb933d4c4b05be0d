"""Images of an export: calibration and comparison images, which never have pixels in common, and golden inputs."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.report_schema import Precision
from ctonnx.errors import DataError, ImageError
from ctonnx.images import Preprocessing, load
from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx.system.text import Log
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore, pixel_digest
from ctonnx_train.data.sources import FolderSource, Source, open_source
from ctonnx_train.data.splits import SPLITS, Sample, Split
from ctonnx_train.runs.checkpoint import Checkpoint

__all__ = ["BATCH", "ImageSet", "ImageSets", "balanced", "batches_with_progress", "choose_images", "golden_rows"]

BATCH = 16
"""Number of images in a batch."""

_COMPARED_IMAGES = 1000
_DECIDED_IMAGES = 400  # if all of 189 or more in the half that judges are decided alike, their interval is in the gate
_GOLDEN_IMAGES = 8
_IN_MEMORY = 256_000_000  # bytes of pixels; images beyond it are decoded each time
_UNKNOWN = -1
_SHARE = Fraction(2, 3)  # of each class of the run's training images


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images with the pixels that the predictor would see, decoded in batches.

    Attributes:
        store: Decoded pixels.
        samples: Paths and labels; the label of an image of unknown class is -1.
        missing: Number of images that were requested in addition and do not exist.
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
        """Digests of the pixels, which identify an image under any name."""
        return frozenset(self.store.digests.values())

    def count_blank(self) -> int:
        """Returns the number of images of a single colour, which do not calibrate anything."""
        return sum(int((np.ptp(pixels, axis=(1, 2)) == 0).all(axis=1).sum()) for pixels in self.batches())

    def pixels(self, rows: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
        """Returns some of the images: uint8 [rows, size, size, 3]."""
        pixels = self.store.take([int(row) for row in rows])
        return pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)

    def batches(self, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
        """Yields all images in their order, in batches of `count`: uint8 [count, size, size, 3]."""
        for start in range(0, len(self), count):
            yield self.pixels(range(start, min(start + count, len(self))))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSets:
    """All images of one export.

    Attributes:
        validation: The run's validation images.
        golden: Rows of the validation images that are the golden inputs.
        calibration: Calibration images of INT8; None without INT8.
        choose_held_out: Decodes the training images on which FP16 and INT8 are compared, too, the only ones on which
            their decisions are; None if there are none.
        choose_added: Decodes the unlabelled images that are compared, too, except for those with these digests; None if
            there are none.
        choose_test: Decodes the test images that are compared at the end; None if there are none.
        patients: Patients of the run's images by path, as far as they are known.
        seed: Seed of the run.
    """

    validation: ImageSet
    golden: NDArray[np.intp]
    calibration: ImageSet | None = None
    choose_held_out: Callable[[], ImageSet | None] = lambda: None
    choose_added: Callable[[frozenset[str]], ImageSet | None] = lambda avoid: None
    choose_test: Callable[[], ImageSet | None] = lambda: None
    patients: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def _compared(self) -> dict[str, ImageSet]:
        held_out = self.choose_held_out()
        added = self.choose_added(held_out.digests if held_out else frozenset())
        found = {"valid": self.validation, "train": held_out, "added": added}
        return {origin: images for origin, images in found.items() if images}

    @property
    def compared(self) -> tuple[ImageSet, ...]:
        """Image sets on which FP16 and INT8 are compared with FP32: validation first; decoded on first use."""
        return tuple(self._compared.values())

    @property
    def origins(self) -> tuple[str, ...]:
        """Origin of each of these sets: `valid` or `train` for the run's splits, `added` for unlabelled images."""
        return tuple(self._compared)


def choose_images(
    checkpoint: Checkpoint,
    root: Path,
    precisions: Collection[Precision],
    *,
    calibrate: Path | None = None,
    labels: Path | None = None,
    samples: int,
    added: Path | None = None,
    log: Log,
) -> ImageSets:
    """Chooses all images of an export; those held out are decoded when FP32 is compared, after it passed its gate.

    Agreement does not require images that the network has not seen, only images that calibration has not. FP16 and INT8
    are therefore compared on up to 1,000 images: the validation images, and training images that calibration does not
    use. A single borderline scan in a small validation set then does not decide. Decisions are compared on the training
    images and added images alone, as thresholds were fitted on the validation images: however many of these there are,
    up to 400 of the training images are used if the run has an operating point.

    Args:
        checkpoint: Checkpoint of the run; its seed makes the choice.
        root: Folder or `.npz` file with the run's images.
        precisions: Precisions to export in addition to FP32.
        calibrate: Dataset (its training images are used) or folder of images; None uses the run's training images.
        labels: Labels file of the images in `calibrate`, if it has one.
        samples: Number of calibration images; a third of each class of the run's own is left for the comparison.
        added: Folder of images without labels on which FP16 and INT8 are compared, too; None adds none.
        log: Called with each progress message.

    Raises:
        DataError: If images are missing or cannot be read, or all calibration images are blank.
    """
    files = () if added is None else _scans_in(added, to="compare on")
    validation = _validation_images(checkpoint, root)
    golden, avoid = golden_rows(validation.labels.tolist()), validation.digests
    calibration = None
    if "int8" in precisions:
        calibration = _calibration_images(
            checkpoint, root, calibrate=calibrate, labels=labels, count=samples, avoid=avoid
        )
        if calibration.missing:
            reason = "all there are" if calibrate else "a third of each class is kept for the comparison"
            log(f"calibrating on {len(calibration)} images, {calibration.missing} fewer than requested: {reason}")

    def choose_held_out() -> ImageSet | None:
        least = _DECIDED_IMAGES if checkpoint.record.operating_point else 0
        count = max(_COMPARED_IMAGES - len(validation), least)
        if count <= 0 or not {"fp16", "int8"}.intersection(precisions):
            return None
        return _held_out_images(checkpoint, root, count=count, avoid=avoid, calibration=calibration)

    seen: frozenset[str] = avoid.union(*(checkpoint.digests(split) for split in SPLITS[:2]))
    if calibration is not None:
        seen |= calibration.digests

    def choose_added(held_out: frozenset[str]) -> ImageSet | None:
        return None if added is None else _added_images(checkpoint, added, files, avoid=seen | held_out, log=log)

    def choose_test() -> ImageSet | None:
        compared = [part.digests for part in images.compared] if added else []
        return _unseen_images(checkpoint, root, avoid=seen.union(*compared))

    images = ImageSets(
        validation=validation,
        golden=golden,
        calibration=calibration,
        choose_held_out=choose_held_out,
        choose_added=choose_added,
        choose_test=choose_test,
        patients={path: name for split in SPLITS[:2] for path, name in checkpoint.patients_by_path(split).items()},
        seed=checkpoint.record.settings["seed"],
    )
    return images


def _validation_and_training(checkpoint: Checkpoint) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Returns the images that models are compared on first, and those that calibration chooses from.

    They are the run's validation and training images. Those of a run in folds are the same: a third of each class, of
    copies only one, has the part of the validation images here.
    """
    valid, training = checkpoint.samples("valid"), checkpoint.samples("train")
    if not checkpoint.record.data.get("folds"):
        return valid, training
    digests = checkpoint.digests_by_path("valid")
    distinct = list({digests.get(sample.path, sample.path): sample for sample in reversed(valid)}.values())
    chosen = set(balanced(sorted(distinct), len(distinct), checkpoint.record.settings["seed"], 1 - _SHARE))
    return tuple(sample for sample in valid if sample in chosen), tuple(
        sample for sample in training if sample not in chosen
    )


def _validation_images(checkpoint: Checkpoint, root: Path) -> ImageSet:
    samples = _validation_and_training(checkpoint)[0]
    source = open_source(root)
    if missing := [sample.path for sample in samples if not source.has(sample.path)]:
        raise DataError(
            f"expected the run's {len(samples)} validation images in '{root}', found {len(missing)} missing "
            f"('{missing[0]}' first); name the folder or file that contains them with --data"
        )
    return _decode(source, samples, checkpoint.record.preprocessing)


def _calibration_images(
    checkpoint: Checkpoint,
    root: Path,
    *,
    calibrate: Path | None,
    labels: Path | None = None,
    count: int,
    avoid: frozenset[str],
) -> ImageSet:
    """Returns images whose digests are not in `avoid`, the same number of each class if there are enough."""
    if calibrate is None:
        source, samples = open_source(root), _validation_and_training(checkpoint)[1]
        found = [sample for sample in samples if source.has(sample.path)]
        if not found:
            raise DataError(
                f"expected the run's {len(samples)} training images in '{root}' for the calibration, found none of "
                "them; name the folder that contains them with --data, or similar images with --calibrate"
            )
        share = _SHARE
    else:
        source, found = _other_images(calibrate, labels)
        share = Fraction(1)
    images = _choose(checkpoint, source, found, count, avoid, share)
    if images is None:
        raise DataError(
            f"expected images in '{calibrate or root}' that are not the run's validation images, found only those; "
            "calibrate on other images, so that the comparison uses images that calibration has not seen"
        )
    if images.count_blank() == len(images):
        raise DataError(
            f"expected images in '{calibrate or root}' to calibrate on, found {len(images)} that have one colour each; "
            "calibrate on images similar to those that the model will see"
        )
    return images


def _held_out_images(
    checkpoint: Checkpoint, root: Path, *, count: int, avoid: frozenset[str], calibration: ImageSet | None = None
) -> ImageSet | None:
    """Returns training images that calibration does not use and whose digests are not in `avoid`, if there are any."""
    source = open_source(root)
    used = set(calibration.samples) if calibration and calibration.store.source.root == source.root else set()
    training = _validation_and_training(checkpoint)[1]
    found = [sample for sample in training if sample not in used and source.has(sample.path)]
    return _choose(checkpoint, source, found, count, avoid | (calibration.digests if calibration else frozenset()))


def _unseen_images(checkpoint: Checkpoint, root: Path, *, avoid: frozenset[str]) -> ImageSet | None:
    """Returns test images whose digests are not in `avoid`, if there are any."""
    source = open_source(root)
    found = [sample for sample in checkpoint.samples("test") if source.has(sample.path)]
    return _choose(checkpoint, source, found, _COMPARED_IMAGES, avoid, split="test")


def _added_images(
    checkpoint: Checkpoint, root: Path, files: Sequence[Path], *, avoid: frozenset[str], log: Log
) -> ImageSet:
    """Returns up to 1,000 distinct images, without labels, whose digests are not in `avoid`; a DataError if none is."""
    order = np.random.default_rng(checkpoint.record.settings["seed"]).permutation(len(files))
    found: dict[str, Sample] = {}
    unreadable = known = 0
    for row in order:
        if len(found) == _COMPARED_IMAGES:
            log(f"comparing on {len(found)} of the {len(files)} images in '{root}', the most that are used")
            break
        try:
            digest = pixel_digest(load(files[row]).image)
        except ImageError:
            unreadable += 1
            continue
        if digest in avoid or digest in found:
            known += 1
        else:
            found[digest] = Sample(files[row].relative_to(root).as_posix(), _UNKNOWN)
    skipped = f"{known} used for the training, validation or calibration, or copies, and {unreadable} unreadable"
    if not found:
        raise DataError(f"expected other images in '{root}', found {skipped}; name images that the run does not have")
    if known or unreadable:
        log(f"skipped in '{root}': {skipped}")
    return _decode(FolderSource(root), sorted(found.values()), checkpoint.record.preprocessing)


def _choose(
    checkpoint: Checkpoint,
    source: Source,
    samples: Sequence[Sample],
    count: int,
    avoid: frozenset[str],
    share: Fraction = Fraction(1),
    split: Split = "train",
) -> ImageSet | None:
    """Chooses and decodes distinct images whose digests are not in `avoid`.

    Digests recorded at training save decoding; those of the decoded images decide, as files may have changed since.
    """
    known = checkpoint.digests_by_path(split)
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
    """Chooses samples at random, one class after the other and at most a share of each class; returns them in order.

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


def _other_images(root: Path, labels: Path | None) -> tuple[Source, list[Sample]]:
    """Returns the training images of a dataset, or all images of any other folder, without labels."""
    try:
        found = read_data(root, labels=labels)
        return open_source(found.root), list(found.splits["train"])
    except DataError:
        if labels is not None or not root.is_dir() or (root / "train").is_dir():
            raise  # an invalid dataset, whose other splits are not used
        files = _scans_in(root, to="calibrate on")
        return open_source(root), [Sample(file.relative_to(root).as_posix(), _UNKNOWN) for file in files]


def _scans_in(root: Path, *, to: str) -> tuple[Path, ...]:
    """Returns the image and DICOM files below a folder; raises a DataError if there are none."""
    if files := tuple(Path(file) for file in list_files(root).files if is_scan(file)):
        return files
    raise DataError(f"expected images to {to} in '{root}', found none; name a dataset or a folder of images") from None


def _decode(source: Source, samples: Sequence[Sample], preprocessing: Preprocessing) -> ImageSet:
    return ImageSet(store=PixelStore(source, samples, preprocessing, limit=_IN_MEMORY), samples=tuple(samples))


def golden_rows(labels: list[int]) -> NDArray[np.intp]:
    """Chooses up to eight images, one class after the other, in the order of the split.

    >>> golden_rows([0] * 9 + [1]).tolist()
    [0, 1, 2, 3, 4, 5, 6, 9]
    """
    turns = sorted((labels[:row].count(label), label, row) for row, label in enumerate(labels))
    return np.array(sorted(row for _, _, row in turns[:_GOLDEN_IMAGES]), np.intp)


def batches_with_progress(task: str, *parts: ImageSet, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
    """Yields batches of up to `count` images, uint8 [images, size, size, 3], with a progress bar on a terminal."""
    total = sum(map(len, parts))
    with tqdm(total=total, desc=task, unit="image", leave=False, disable=None) as bar:
        for part in parts:
            for pixels in part.batches(count):
                yield pixels
                bar.update(len(pixels))
