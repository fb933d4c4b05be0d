"""What every answer is held against: images, whose answers count as right, and the gate that must be kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.allowance import allow
from ctonnx.errors import DataError, ImageError, ModelError
from ctonnx.golden import FILE_NAME, Golden, load_golden
from ctonnx.images import load, to_pixels
from ctonnx.leaks import leaks_in_words
from ctonnx.outputs import Outputs
from ctonnx.parity import DEVICE_GATES, GATES, Gate, Parity, accuracy_change, compare, share_interval
from ctonnx_bench.contenders import Contender, Model

__all__ = ["Images", "Judgement", "altered", "gate_of", "golden_images", "images_in", "judge", "labelled_images"]

_NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class Images:
    """What the networks are asked.

    Attributes:
        about: where they come from, for people.
        pixels: uint8 [images, size, size, 3].
        labels: class index of each image, or -1.
        files: that the pixels were read from; none where they were not.
        golden: the golden inputs, where these are the images.
        cautions: why their labels flatter.
        calibration: other images, for a peer that quantizes: uint8 [images, size, size, 3]; none where there are none.
    """

    about: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[str, ...] = ()
    golden: Golden | None = None
    cautions: tuple[str, ...] = ()
    calibration: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Judgement:
    """How a contender's answers stand.

    Attributes:
        parity: to the reference's.
        accuracy: `value`, `low`, `high` (95 %, Wilson 1927) on `images`, and `change`: the difference to the
            reference's with its interval; None without labels.
        failures: what is wrong with them; none where they are right or not shown to be.
        not_shown: The bounds that the measured values miss while these images do not show that the answers miss them.
        asked: the gate that they were held against, in words.
        bounds: That gate, as a document holds it.
    """

    parity: Parity
    accuracy: dict[str, Any] | None
    failures: tuple[str, ...]
    asked: str
    not_shown: tuple[str, ...] = ()
    bounds: dict[str, Any] = field(default_factory=dict)


def golden_images(model: Model) -> Images:
    """Returns the golden inputs beside a model, which need neither PyTorch nor data.

    Raises:
        ModelError: there are none, or they are another checkpoint's.
    """
    file = model.path.parent / FILE_NAME
    if not file.is_file():
        raise ModelError(
            f"expected the golden inputs at '{file}', by which answers are checked, found none; copy {FILE_NAME} from "
            "the export folder with the model, or name labelled images with --data DIR"
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
            f"expected golden answers of {len(model.spec.classes)} classes, found those of {found} in '{file}'; copy "
            "both from one export folder"
        )
    labels = np.full(len(golden.pixels), _NO_LABEL)
    return Images(f"{len(labels)} golden inputs", golden.pixels, labels, golden=golden)


def labelled_images(data: Path, model: Model, *, calibrate: int = 0) -> Images:
    """Returns a data set's test images, or else its validation images, or else all, as the model takes them.

    Args:
        data: see `ctonnx_train.folders.read_data`.
        model: whose classes and preprocessing count.
        calibrate: how many of the training images to return, too, for a peer that quantizes.

    Raises:
        DataError: it is no data set, or images in it cannot be read.
    """
    from ctonnx_train.folders import read_data
    from ctonnx_train.sources import open_source
    from ctonnx_train.splits import Sample, Split

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
    return Images(
        f"{len(chosen)} labelled images ({split}) of {data}",
        read(chosen),
        np.array([sample.label for sample in chosen], np.int64),
        cautions=_cautions(model, split),
        calibration=read(picked) if picked else None,
    )


def images_in(folder: str, model: Model) -> Images:
    """Returns the images below a folder, to be timed from the file to the answer.

    Raises:
        CtonnxError: there is none.
        DataError: one cannot be read.
    """
    from ctonnx.inputs import find_images

    files = find_images([folder])
    pixels = _pixels(files, model)
    absolute = tuple(str(Path(file).resolve()) for file in files)
    return Images(f"{len(files)} files in {folder}", pixels, np.full(len(files), _NO_LABEL), absolute)


def judge(contender: Contender, outputs: Outputs, reference: Outputs, images: Images, gate: Gate | None) -> Judgement:
    """Judges a contender's answers for all images, by the measured values as they are.

    Where a share of the images misses its bound and its 95 % interval reaches it, the images show neither: that is no
    failure, and the answers are not called right.

    Args:
        contender: who gave them.
        outputs: the answers.
        reference: those that count as right.
        images: what was asked.
        gate: that the model was shipped with; None takes its precision's.
    """
    parity = compare(reference, outputs)
    change = accuracy_change(reference, outputs, images.labels)
    gate = gate or GATES[contender.precision]
    broken = gate.broken(parity, change)
    failures = [bound.phrase for bound in broken if not bound.doubt]
    not_shown = [
        f"{bound.phrase}, which its 95 % interval, {bound.doubt}, reaches: {parity.images} images do not show which it "
        "is"
        for bound in broken
        if bound.doubt
    ]
    golden = images.golden
    if golden is not None and contender.own and contender.precision in golden.answers:
        kept = golden.answers[contender.precision]
        still = {bound.bound for bound in allow(gate, golden.outputs, kept).gate.broken(parity, change)}
        certain = [bound for bound in broken if not bound.doubt]
        failures = [bound.phrase for bound in certain if bound.bound in still]
        not_shown += [
            f"{bound.phrase}; on these few images it was so where it was exported too, by which its gate was passed on "
            "more"
            for bound in certain
            if bound.bound not in still
        ]
        failures += [
            f"against its own answers where it was exported, {failure}"
            for failure in DEVICE_GATES[contender.precision].failures(compare(kept, outputs))
        ]
    return Judgement(
        parity,
        _accuracy(outputs, images.labels, change),
        tuple(failures),
        gate.summary,
        tuple(not_shown),
        asdict(gate),
    )


def altered(model: Model) -> str | None:
    """Returns what is wrong with a file that is not the one which its golden inputs were exported with, or None.

    Its answers may be right all the same: names of classes stand in the file, and no answer of the network tells them.
    Without golden inputs beside it, or with some that do not know its precision, nothing is known.
    """
    file = model.path.parent / FILE_NAME
    if not file.is_file():
        return None
    exported = load_golden(file).model_sha256.get(model.spec.precision)
    if exported in (None, model.sha256):
        return None
    return (
        f"its SHA-256 is {model.sha256[:12]}, that of the exported one {exported[:12]}: it was altered since, or its "
        f"{FILE_NAME} is of another export"
    )


def gate_of(model: Model) -> Gate | None:
    """Returns the gate that a model was shipped with, as far as it says so."""
    kept = model.spec.gate
    if kept is None:
        return None
    names = {item.name for item in fields(Gate)}
    return Gate(**{name: value for name, value in kept.items() if name in names})


def _cautions(model: Model, split: str) -> tuple[str, ...]:
    """Returns why the accuracy on a split flatters, where the model was trained on the data that it is of."""
    leaks = leaks_in_words(model.spec.data)
    chosen = "where it is the run's own, the valid split chose the best epoch, the temperature and the threshold"
    return (
        *([f"accuracy: {chosen}: expect less elsewhere"] if split == "valid" else []),
        *([f"accuracy: of the data that the model was trained on, {leaks}"] if leaks else []),
    )


def _accuracy(outputs: Outputs, labels: NDArray[np.int64], change: Any) -> dict[str, Any] | None:
    known = labels >= 0
    if not known.any():
        return None
    right, images = int((outputs.probabilities.argmax(axis=1) == labels)[known].sum()), int(known.sum())
    low, high = share_interval(right / images, images)
    return {"images": images, "value": right / images, "low": low, "high": high, "change": change.as_dict()}


def _pixels(images: Sequence[Any], model: Model) -> NDArray[np.uint8]:
    """Returns the pixels of images, as the predictor makes them."""
    how, found, wrong = model.spec.preprocessing, [], []
    for image in images:
        try:
            found.append(to_pixels(load(image, window=model.spec.dicom_window), how))
        except ImageError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError(
            f"expected {len(images)} readable images, found {len(wrong)} that cannot be read: {wrong[0]}; "
            "mend them or move them out of the folder"
        )
    return np.stack(found)
