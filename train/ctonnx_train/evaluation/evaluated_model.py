"""What `evaluate` evaluates: a run's checkpoint with PyTorch, or an exported model with onnxruntime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.artifacts.run import RUNS, Run, find_run
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.system.cpu import check_threads
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.splits import SPLITS, Split

__all__ = ["EvaluatedModel", "open_evaluated_model"]

_BATCH = 32


class _Answers(Protocol):
    def __call__(self, store: PixelStore, rows: Sequence[int], /) -> NDArray[np.floating[Any]]:
        """Returns probabilities, [rows, classes]."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model that can be asked.

    Attributes:
        path: The run's folder, or the `.onnx` file.
        name: The run's.
        kind: as `PyTorch checkpoint` or `ONNX fp32`.
        classes: in the order of the answers.
        preprocessing: Its input.
        operating_point: where an image is suspicious, or None.
        synthetic: Whether it was trained on generated phantoms.
        data: what it was trained on, as run.json or the spec has it.
        probabilities: Returns the answers for a store's rows, [rows, classes].
        run: that it comes from, where that is known.
        class_names: Canonical names of class folders that the training knew.
        data_root: The data set that it was trained on, where that is known.
        digests: of the images of each split of its training, where they are known.
    """

    path: Path
    name: str
    kind: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    operating_point: OperatingPoint | None
    synthetic: bool
    data: Mapping[str, Any]
    probabilities: _Answers
    run: Run | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    data_root: Path | None = None
    digests: Mapping[Split, frozenset[str]] = field(default_factory=dict)

    @property
    def trained_on(self) -> frozenset[str] | None:
        """Digests of the images that it was trained on, or None where they are not known."""
        return self.digests.get("train") or None  # an earlier release wrote none

    @property
    def chosen_by(self) -> frozenset[str] | None:
        """Digests of the validation images, by which it was chosen and calibrated, or None where they are not known."""
        return self.digests.get("valid") or None


def open_evaluated_model(path: Path, root: Path = RUNS, *, threads: int | None = None) -> EvaluatedModel:
    """Opens a run's folder, a run's name below `root`, or an `.onnx` file.

    Args:
        path: what is to be opened.
        root: The folder of the runs.
        threads: in which it computes on a CPU; None takes every core that this process may use.

    Raises:
        ModelError: there is no such thing, or it is damaged.
        ValueError: `ctonnx.system.cpu.check_threads` refuses the number of threads.
    """
    check_threads(threads)
    if path.suffix == ".onnx" or path.is_file():
        return _onnx(path, threads)
    return _checkpoint(find_run(path, root), threads)


def _checkpoint(run: Run, threads: int | None) -> EvaluatedModel:
    import torch
    from scipy.special import softmax

    from ctonnx_train.network.inference import predict_logits
    from ctonnx_train.network.threads import computing_threads
    from ctonnx_train.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run)
    record = checkpoint.record
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def probabilities(store: PixelStore, rows: Sequence[int]) -> NDArray[np.floating[Any]]:
        with computing_threads(threads):
            logits = predict_logits(checkpoint.network, store, rows, device=device, batch_size=_BATCH)
        values: NDArray[np.float64] = softmax(logits.astype(np.float64) / record.temperature, axis=1)
        return values

    return EvaluatedModel(
        path=run.folder,
        name=run.name,
        kind="PyTorch checkpoint",
        classes=record.classes,
        preprocessing=record.preprocessing,
        operating_point=record.operating_point,
        synthetic=record.synthetic,
        data=record.data,
        probabilities=probabilities,
        run=run,
        class_names=record.folder_classes,
        data_root=Path(record.data["folder"]),
        digests={split: checkpoint.digests(split) for split in SPLITS},
    )


def _onnx(file: Path, threads: int | None) -> EvaluatedModel:
    from ctonnx.prediction.predictor import Predictor
    from ctonnx_train.runs.record import read_record
    from ctonnx_train.runs.splits_file import read_digests

    predictor = Predictor(file, threads=threads, spinning=False)
    spec = predictor.spec

    def probabilities(store: PixelStore, rows: Sequence[int]) -> NDArray[np.floating[Any]]:
        answers = [np.empty((0, len(spec.classes)), np.float32)]
        for start in range(0, len(rows), _BATCH):
            pixels = store.take(rows[start : start + _BATCH])
            three = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))
            answers.append(predictor.predict_pixels(three).probabilities)
        return np.concatenate(answers)

    run = Run(file.resolve().parent.parent)  # where it lies in its run's export folder
    try:
        same = run.has_checkpoint and read_record(run).data["fingerprint"] == spec.data["fingerprint"]
        digests = {split: frozenset(read_digests(run, split).values()) for split in SPLITS} if same else {}
        class_names = read_record(run).folder_classes if same else {}
    except (ModelError, KeyError):
        same, digests, class_names = False, {}, {}
    return EvaluatedModel(
        path=file,
        name=spec.name,
        kind=f"ONNX {spec.precision}",
        classes=spec.classes,
        preprocessing=spec.preprocessing,
        operating_point=spec.operating_point,
        synthetic=spec.synthetic,
        data=spec.data,
        probabilities=probabilities,
        run=run if same else None,
        class_names=class_names,
        data_root=Path(read_record(run).data["folder"]) if same else None,
        digests=digests,
    )
