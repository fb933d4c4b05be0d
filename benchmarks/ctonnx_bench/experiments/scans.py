"""Writes generated scans of the usual size as PNG files, for experiments on files."""

from pathlib import Path

__all__ = ["SIDE", "draw_scans"]

SIDE = 512  # height and width of a scan


def draw_scans(folder: Path, count: int) -> list[Path]:
    """Writes `count` phantoms of all classes as grey PNG files, identical each time."""
    import numpy as np

    from ctonnx_train.data.phantom.drawing import CLASSES, draw

    folder.mkdir()
    files = [folder / f"scan_{number:05d}.png" for number in range(count)]
    for number, file in enumerate(files):
        draw(CLASSES[number % len(CLASSES)], np.random.default_rng([0, number]), SIDE).save(file, compress_level=4)
    return files
