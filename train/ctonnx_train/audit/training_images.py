"""The quick audit of `ctonnx train`: shortcuts and facts of the training images, which are decoded for it only once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.report_schema import Shortcuts
from ctonnx.images import Preprocessing
from ctonnx.images.loading import Origin
from ctonnx.images.scan import Scan
from ctonnx_train.audit.facts import Facts, acquisition, facts_of_input, image_facts
from ctonnx_train.audit.near_duplicates import group_near_duplicates, perceptual_hash
from ctonnx_train.audit.shortcuts import MOST_IMAGES, find_shortcuts
from ctonnx_train.data.leakage import GroupNames, group_numbers
from ctonnx_train.data.splits import Sample

__all__ = ["Described", "audit_training_images", "choose_described", "describe_image", "sees_input"]

_PERMUTATIONS = 199
_MOST_DESCRIBED = 10_000  # images; describing one takes a few milliseconds


class Described(NamedTuple):
    """Facts of an image's file, the facts that are tested for shortcuts, and its perceptual hash."""

    facts: Facts
    tested: Facts
    hash: NDArray[np.bool_]


def sees_input(preprocessing: Preprocessing) -> bool:
    """Returns whether the network's input is tested for shortcuts, instead of the files.

    A crop to the body and a padding are made against the shortcuts in the files: of interest is what they leave.
    """
    return preprocessing.crop != "none" or preprocessing.resize == "pad"


def choose_described(images: int, *, seed: int = 0) -> list[int]:
    """Returns the rows of the images to describe: all of them, or a random choice of many."""
    if images <= _MOST_DESCRIBED:
        return list(range(images))
    chosen: list[int] = np.sort(np.random.default_rng(seed).permutation(images)[:_MOST_DESCRIBED]).tolist()
    return chosen


def describe_image(scan: Scan, origin: Origin, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Described:
    """Returns the description of an image; `pixels` are those of `to_pixels`."""
    facts = image_facts(scan, origin)
    tested = facts_of_input(pixels) if sees_input(preprocessing) else facts
    return Described(facts, tested, perceptual_hash(scan.image))


def audit_training_images(
    described: Mapping[str, Described],
    samples: Sequence[Sample],
    classes: Sequence[str],
    names: GroupNames,
    *,
    of_input: bool = False,
    seed: int = 0,
) -> tuple[Shortcuts, dict[str, Any]]:
    """Returns the shortcuts of the training images, and the medians of their facts.

    Args:
        described: Descriptions of images, by path.
        samples: Training images; those without a description are left out.
        classes: Class names.
        names: Groups of the images; see `ctonnx_train.data.leakage.group_names`.
        of_input: Whether the tested facts are those of the network's input, from `sees_input`; kept in the result.
        seed: Seed of the choice among many images, the folds and the permutations.
    """
    samples = [sample for sample in samples if sample.path in described]
    facts, labels = [described[sample.path].facts for sample in samples], [sample.label for sample in samples]
    chosen = list(samples)
    if len(chosen) > MOST_IMAGES:  # before all are compared with all
        order = np.random.default_rng(seed).permutation(len(chosen))[:MOST_IMAGES]
        chosen = [samples[row] for row in sorted(order.tolist())]
    near = group_near_duplicates([described[sample.path].hash for sample in chosen])
    together = group_numbers(
        chosen, {sample.path: str(number) for sample, number in zip(chosen, near, strict=True)}, names
    )
    shortcuts = find_shortcuts(
        [described[sample.path].tested for sample in chosen],
        [sample.label for sample in chosen],
        classes,
        [together[sample.path] for sample in chosen],
        permutations=_PERMUTATIONS,
        seed=seed,
    )
    shortcuts["audited"] = "input" if of_input else "files"
    return shortcuts, acquisition(facts, labels, classes)
