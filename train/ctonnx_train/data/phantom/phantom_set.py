"""Generated datasets of phantoms, to try every command without patients' scans."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import PngImagePlugin

from ctonnx.artifacts import json_schema
from ctonnx.errors import DataError
from ctonnx.system.files import atomic_folder, write_text
from ctonnx_train.data.phantom.drawing import CLASSES, draw

__all__ = ["DESCRIPTION", "MARKER", "PhantomSet", "check_is_free", "generate", "is_phantom_set"]

DESCRIPTION = "Synthetic CT phantom made by ctonnx; not a patient"
MARKER = "phantom.json"

_SUFFIXES = ("", "_left.upper.lobe_T1_N0_M0_Ia", "_right.hilum_T3_N2_M0_IIIa", "_right.lower.lobe_T2_N0_M0_Ib")
_README = """\
Synthetic chest-CT phantoms, made by `ctonnx data phantom`. No image here shows a patient: each is a drawing from a
random number generator, with a label in its corner and in its PNG text. The kinds of image and the sides, lobes and
stages in the folder names have no clinical meaning, nor do the metrics of a model on these images.

The folder names follow the public Kaggle chest-CT set: with place and stage in train/ and valid/, plain in test/.
phantom.json contains the settings that generate the same files again.
"""


@dataclass(frozen=True)
class PhantomSet:
    """Result of `generate`: the folder, the number of images, and the number in each split."""

    folder: Path
    images: int
    per_split: dict[str, int]


def generate(
    out: Path,
    *,
    per_class: int = 60,
    seed: int = 0,
    size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> PhantomSet:
    """Writes a phantom set atomically. The same `per_class`, `seed` and `size` give the same bytes.

    Args:
        out: Folder to write; it must be new or empty.
        per_class: Number of images of each class: about 60 % train, 20 % valid, 20 % test.
        seed: Random seed, 0 or more.
        size: Width and height of the images in pixels.
        progress: Called with (images written, total number of images) after each image.

    Raises:
        DataError: A number is out of range, or `out` is a file or not empty.
        OSError: The folder cannot be written.
    """
    for name, value, least in (("per_class", per_class, 3), ("seed", seed, 0), ("size", size, 64)):
        if value < least:
            raise DataError(f"expected {name} of {least} or more, found {value}; give a larger {name}")
    check_is_free(out)
    held_out = max(1, round(per_class * 0.2))
    counts = {"train": per_class - 2 * held_out, "valid": held_out, "test": held_out}
    total, done = per_class * len(CLASSES), 0
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", DESCRIPTION)
    with atomic_folder(out.resolve()) as root:
        for i, (split, count) in enumerate(counts.items()):
            for j, kind in enumerate(CLASSES):
                folder = root / split / (kind if split == "test" else kind + _SUFFIXES[j])
                folder.mkdir(parents=True)
                for k in range(count):
                    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i, j, k)))
                    done += 1
                    draw(kind, rng, size).save(folder / f"phantom_{done:06d}.png", pnginfo=text, compress_level=4)
                    if progress is not None:
                        progress(done, total)
        settings = {"per_class": per_class, "seed": seed, "size": size}
        marker = {"generator": "ctonnx data phantom", "synthetic": True} | settings
        write_text(root / MARKER, json.dumps(marker, indent=2, sort_keys=True) + "\n")
        write_text(root / "README.txt", _README)
        check_is_free(out)  # again: files written there in the meantime would be replaced
    return PhantomSet(out, total, {split: count * len(CLASSES) for split, count in counts.items()})


def check_is_free(out: Path) -> None:
    """Raises DataError if a folder to write is a file or not empty."""
    first = min(out.iterdir(), default=None) if out.is_dir() else None
    found = f'"{first.name}" in it' if first else "a file"
    if first or (out.exists() and not out.is_dir()):
        raise DataError(f'expected "{out}" to be new or an empty folder, found {found}; choose another folder')


def is_phantom_set(folder: Path) -> bool:
    """Returns whether a folder has the marker of generated phantoms."""
    try:
        return json_schema.load(_Marker, folder / MARKER).synthetic
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class _Marker:
    synthetic: bool
