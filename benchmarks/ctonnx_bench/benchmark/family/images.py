"""Images that a family is compared on: labelled ones that trained and chose none of its models, or golden inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ctonnx.artifacts.spec import describe_leakage
from ctonnx.errors import DataError
from ctonnx.system.packages import extras_to_install
from ctonnx.system.text import Log, counted, quoted
from ctonnx_bench.cases.contenders import Model
from ctonnx_bench.cases.images import CheckImages, golden_images

if TYPE_CHECKING:
    from ctonnx_train.evaluation.evaluated_model import EvaluatedModel

__all__ = ["FamilyImages", "golden_family_images", "labelled_family_images"]


@dataclass(frozen=True, eq=False)
class FamilyImages:
    """Images that a family is compared on.

    Attributes:
        checked: Pixels, labels, caveats and, without labels, golden outputs of the first model.
        effective: Effective number of images, as images of a patient and copies are alike (Kish 1965).
        split: `test`, `valid` or `all`; None for golden inputs.
    """

    checked: CheckImages
    effective: float
    split: str | None = None


def golden_family_images(first: Model) -> FamilyImages:
    """Returns the golden inputs beside the first model, which have no labels.

    Raises:
        ModelError: If there are none, or they are of another checkpoint.
    """
    images = golden_images(first)
    return FamilyImages(images, len(images))


def labelled_family_images(data: Path, models: Sequence[Model], log: Log) -> FamilyImages:
    """Returns a dataset's test images, or else its validation images, or else all, preprocessed for the family.

    Left out are images that a model of the family was trained on and, unless the validation images are used, those that
    selected one: their copies may be in another split. This is known of models in their run's folder. Splits and
    patients are found as `ctonnx evaluate` does for the first model.

    Raises:
        DataError: If it is not a dataset, has other classes, no image is left, or the extra `evaluate` is missing.
    """
    try:
        from ctonnx_train.data.dataset import describe
        from ctonnx_train.data.layouts.patient_sources import find_patients
        from ctonnx_train.data.leakage import group_numbers
        from ctonnx_train.data.pixel_store import KEPT_BYTES, PixelStore
        from ctonnx_train.data.sources import open_source
        from ctonnx_train.evaluation.evaluate import choose_split, read_dataset
        from ctonnx_train.evaluation.evaluated_model import open_evaluated_model, rgb_pixels
        from ctonnx_train.evaluation.statistics.shares import effective_number
    except ModuleNotFoundError as error:
        raise DataError(
            f"expected the extra 'evaluate' for labelled images, found no package '{error.name}'; pip install "
            f"{extras_to_install(['cpu', 'bench', 'evaluate'])}"
        ) from error

    opened = [open_evaluated_model(model.path, threads=1) for model in models]
    first = opened[0]
    found = read_dataset(first, data, None)
    describe(found, log)
    split, samples = choose_split(found, None, first)
    log(f"reading {counted(len(samples), 'image')} of {data}")
    store = PixelStore(open_source(found.root), samples, first.preprocessing, limit=KEPT_BYTES)
    digests = [store.digests[sample.path] for sample in samples]
    rows = list(range(len(samples)))
    if split in found.to_make:  # made by the run: its images are identified by their pixels
        rows = [row for row in rows if digests[row] in first.digests[split]]
    seen = frozenset[str]().union(*(_seen(model, split) for model in opened))
    kept = [row for row in rows if digests[row] not in seen]
    if not kept:
        raise DataError(
            f"expected labelled images in '{data}' that chose no model of the family, found that "
            f"{'all ' + str(len(rows)) if rows else 'none'} of the split '{split}' "
            f"{'trained or selected one' if rows else 'are left'}; name other images with --data"
        )
    patients = find_patients(found, samples, None, log)
    names = patients.names if patients else {}
    groups = group_numbers(samples, store.digests, names)
    labels = np.array([samples[row].label for row in kept], np.int64)
    checked = CheckImages(
        f"{counted(len(kept), 'labelled image')} ({split}) of {data}",
        rgb_pixels(store, kept),
        labels,
        caveats=tuple(_caveats(opened, models, split, len(rows) - len(kept))),
    )
    return FamilyImages(checked, effective_number([groups[samples[row].path] for row in kept]), split)


def _seen(model: "EvaluatedModel", split: str) -> frozenset[str]:
    """Returns the digests of the images that trained or, except for validation images, selected a model."""
    selected = None if split == "valid" else model.chosen_by
    return (model.trained_on or frozenset()) | (selected or frozenset())


def _caveats(opened: Sequence["EvaluatedModel"], models: Sequence[Model], split: str, left_out: int) -> list[str]:
    """Returns the reasons why the accuracy on a split may be optimistic."""
    found = []
    if left_out:
        verb = "is" if left_out == 1 else "are"
        found.append(
            f"accuracy: {counted(left_out, 'image')} of the split {verb} left out, as a copy trained or selected a "
            "model of the family"
        )
    if split == "valid":
        found.append(
            "accuracy: the validation images selected the best epoch, the temperature and thresholds, and the INT8 "
            "candidates: expect less on other images"
        )
    if unknown := [str(model.path) for model in opened if model.trained_on is None]:
        found.append(
            f"accuracy: the training images of {quoted(unknown)} are unknown here, as the run is not around the file; "
            "if some are among these images, it is optimistic"
        )
    leaks = dict.fromkeys(filter(None, (describe_leakage(model.spec.data) for model in models)))
    return found + [f"accuracy: of the data that a model was trained on, {leak}" for leak in leaks]
