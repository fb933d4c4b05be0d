"""Images that a benchmark checks outputs on: golden inputs, labelled images, or a folder of files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden
from ctonnx.artifacts.spec import describe_leakage
from ctonnx.errors import DataError, ImageError, ModelError
from ctonnx.images import load, to_pixels
from ctonnx_bench.cases.contenders import Model

__all__ = ["CheckImages", "golden_images", "images_in", "labelled_images"]

_NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class CheckImages:
    """Images that outputs are checked on.

    Attributes:
        about: Number and source, for the report.
        pixels: uint8 [images, size, size, 3].
        labels: Class index of each image, or -1.
        files: Files that the pixels were read from; empty if they were not.
        golden: Golden inputs and outputs, if the images are golden inputs.
        caveats: Reasons why the accuracy on these images is optimistic.
        calibration: Other images, for a peer that quantizes: uint8 [images, size, size, 3]; None without any.
    """

    about: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[str, ...] = ()
    golden: Golden | None = None
    caveats: tuple[str, ...] = ()
    calibration: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.pixels)


def golden_images(model: Model) -> CheckImages:
    """Returns the golden inputs beside a model; they need neither PyTorch nor data.

    Raises:
        ModelError: If there are none, or they are of another checkpoint.
    """
    file = model.path.parent / FILE_NAME
    if not file.is_file():
        raise ModelError(
            f"expected the golden inputs at '{file}' to check outputs on, found none; copy {FILE_NAME} from the export "
            "folder with the model, or name labelled images with --data DIR"
        )
    golden = load_golden(file)
    size = model.spec.preprocessing.size
    if golden.checkpoint_sha256 != model.spec.checkpoint_sha256 or golden.pixels.shape[1:] != (size, size, 3):
        raise ModelError(
            f"expected golden inputs of checkpoint {model.spec.checkpoint_sha256[:12]} at {size} pixels, found "
            f"{golden.checkpoint_sha256[:12]} {list(golden.pixels.shape)} in '{file}'; copy both from one export folder"
        )
    if (found := golden.outputs.probabilities.shape[1]) != len(model.spec.classes):
        raise ModelError(
            f"expected golden outputs of {len(model.spec.classes)} classes, found {found} in '{file}'; copy both from "
            "one export folder"
        )
    labels = np.full(len(golden.pixels), _NO_LABEL)
    return CheckImages(f"{len(labels)} golden inputs", golden.pixels, labels, golden=golden)


def labelled_images(data: Path, model: Model, *, calibrate: int = 0) -> CheckImages:
    """Returns a dataset's test images, or else its validation images, or else all, preprocessed for a model.

    For a peer that quantizes, `calibrate` is the number of training images to return as well.

    Raises:
        DataError: If it is not a dataset, or contains unreadable images.
    """
    from ctonnx_train.data.image_folder import read_data
    from ctonnx_train.data.sources import open_source
    from ctonnx_train.data.splits import Sample, Split

    found = read_data(data, classes=model.spec.classes)
    source = open_source(found.root)
    order: tuple[Split, ...] = ("test", "valid", "train")
    split = next((name for name in order if found.splits[name]), None)
    if split is None:
        raise DataError(f"expected labelled images in '{data}', found none; lay them out as DIR/test/CLASS/*.png")

    def read(samples: Sequence[Sample]) -> NDArray[np.uint8]:
        return _pixels([source.image(sample.path) for sample in samples], model)

    chosen = found.splits[split]
    others = found.splits["train"] if calibrate and split != "train" else ()
    picked = [others[place] for place in np.random.default_rng(0).permutation(len(others))[:calibrate]]
    return CheckImages(
        f"{len(chosen)} labelled images ({split}) of {data}",
        read(chosen),
        np.array([sample.label for sample in chosen], np.int64),
        caveats=_caveats(model, split),
        calibration=read(picked) if picked else None,
    )


def images_in(folder: str, model: Model) -> CheckImages:
    """Returns the images below a folder, for timing from the file to the prediction.

    Raises:
        CtonnxError: If there are none.
        DataError: If one cannot be read.
    """
    from ctonnx.prediction.inputs import find_images

    files = find_images([folder])
    pixels = _pixels(files, model)
    absolute = tuple(str(Path(file).resolve()) for file in files)
    return CheckImages(f"{len(files)} files in {folder}", pixels, np.full(len(files), _NO_LABEL), absolute)


def _caveats(model: Model, split: str) -> tuple[str, ...]:
    """Returns reasons why the accuracy on a split is optimistic if the model was trained on the same data."""
    leaks = describe_leakage(model.spec.data)
    chosen = "the run's own validation images selected the best epoch, the temperature and the threshold"
    return (
        *([f"accuracy: {chosen}: expect less on other images"] if split == "valid" else []),
        *([f"accuracy: of the data that the model was trained on, {leaks}"] if leaks else []),
    )


def _pixels(images: Sequence[Any], model: Model) -> NDArray[np.uint8]:
    """Returns the pixels of images, preprocessed as by the predictor."""
    found, wrong = [], []
    for image in images:
        try:
            found.append(to_pixels(load(image, window=model.spec.dicom_window), model.spec.preprocessing))
        except ImageError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError(
            f"expected {len(images)} readable images, found {len(wrong)} that cannot be read: {wrong[0]}; "
            "repair them or move them out of the folder"
        )
    return np.stack(found)
