"""Writes scans of the usual size as PNG files, for experiments on folders of files."""

from pathlib import Path

__all__ = ["draw_scans"]

SIDE = 512  # height and width of a scan


def draw_scans(folder: Path, count: int) -> list[Path]:
    """Writes `count` phantoms of every kind, the same each time, as grey PNG files."""
    import numpy as np

    from ctonnx_train.data.phantom.drawing import CLASSES, draw

    folder.mkdir()
    files = [folder / f"scan_{number:05d}.png" for number in range(count)]
    for number, file in enumerate(files):
        draw(CLASSES[number % len(CLASSES)], np.random.default_rng([0, number]), SIDE).save(file, compress_level=4)
    return files
