"""The model to evaluate: a run's checkpoint in PyTorch, or an exported model in onnxruntime."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.run import RUNS, Run, find_run
from ctonnx.artifacts.spec import VALIDATION_IMAGES, fitted_on
from ctonnx.errors import ModelError, ProviderError
from ctonnx.images import Preprocessing
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.cpu import check_threads
from ctonnx.system.files import sha256_of
from ctonnx_train.data.leakage import Digests, extra_copies, labelled_fingerprint
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.pixel_store import PixelArray, Pixels
from ctonnx_train.data.splits import SPLITS, Sample, Split

if TYPE_CHECKING:
    from ctonnx.prediction.predictor import Predictor

__all__ = [
    "EvaluatedModel",
    "Predicted",
    "SeenPatients",
    "open_evaluated_model",
    "predict_rows",
    "rgb_pixels",
    "selection_caveats",
]

_BATCH = 32


class Predicted(NamedTuple):
    """Outputs of a model for the rows of a store.

    Attributes:
        probabilities: [rows, classes].
        novelty: [rows]; None if the model has none.
    """

    probabilities: NDArray[np.floating[Any]]
    novelty: NDArray[np.floating[Any]] | None = None


class SeenPatients(NamedTuple):
    """Names of the patients that a model was `trained_on`, and of those of its validation images, `chosen_by`."""

    trained_on: frozenset[str]
    chosen_by: frozenset[str]


class _Predict(Protocol):
    def __call__(self, store: Pixels, rows: Sequence[int], /) -> Predicted: ...


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model that predicts the images of a `PixelStore`.

    `path` is the folder of its run or its `.onnx` file, `kind` a text such as `PyTorch checkpoint` or `ONNX fp32`;
    `data` and `shortcuts` are as in run.json or the spec. `class_names` are the canonical names that the training gave
    to class folders, `digests` those of the images of each of its splits, `training_patients` and
    `validation_patients` the names of its patients. These, `run` and `data_root` are known only next to the run.
    `fitted_on` is the name of the images that the operating point and the rest of the decision were fitted on,
    `history` has the recalibrations of an exported model, and `predictor` is its own.
    """

    path: Path
    name: str
    kind: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    operating_point: OperatingPoint | None
    synthetic: bool
    data: Mapping[str, Any]
    predict: _Predict
    checkpoint_sha256: str = ""
    prediction_sets: PredictionSets | None = None
    patient_rule: PatientRule | None = None
    novelty: Novelty | None = None
    brightness: BrightnessRange | None = None
    shortcuts: Mapping[str, Any] | None = None
    fitted_on: str = VALIDATION_IMAGES
    history: Sequence[Mapping[str, Any]] = ()
    predictor: "Predictor | None" = None
    run: Run | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    data_root: Path | None = None
    digests: Mapping[Split, frozenset[str]] = field(default_factory=dict)
    training_patients: frozenset[str] = frozenset()
    validation_patients: frozenset[str] = frozenset()

    def predict_pixels(self, pixels: NDArray[np.uint8]) -> Predicted:
        """Predicts pixels as `ctonnx.images.to_pixels` returns them: uint8 [images, size, size, 3]."""
        channels = 1 if self.preprocessing.color == "grey" else 3
        return self.predict(PixelArray(pixels[..., :channels]), range(len(pixels)))

    def probabilities(self, store: Pixels, rows: Sequence[int]) -> NDArray[np.floating[Any]]:
        """Returns the probabilities of a store's rows, [rows, classes]."""
        return self.predict(store, rows).probabilities

    @property
    def file_facts(self) -> dict[str, str]:
        """JSON-ready facts of the file that is evaluated, the `.onnx` file or the checkpoint's weights.

        They are its name, `kind`, precision and SHA-256.
        """
        if self.run is not None and self.run.folder == self.path:
            name, digest, precision = self.run.weights_file.name, self.checkpoint_sha256, "fp32"
        else:
            name, digest = self.path.name, sha256_of(self.path)
            precision = self.predictor.spec.precision if self.predictor else "unknown"
        return {"file": name, "kind": self.kind, "precision": precision, "sha256": digest}

    @property
    def trained_on(self) -> frozenset[str] | None:
        """Digests of the training images, or None if they are unknown."""
        return self.digests.get("train") or None  # an earlier release did not write them

    def pseudonyms(self) -> Pseudonyms:
        """Returns the pseudonyms of the training, or new ones if the run has none or is unknown.

        Raises:
            DataError: The key in the run's folder is damaged.
        """
        if self.run is None or not self.run.patients_key_file.exists():
            return Pseudonyms()
        return Pseudonyms.load(self.run.patients_key_file)

    def seen_patients(
        self, patients: Patients | None, root: Path, *, named_by: "EvaluatedModel | None" = None
    ) -> SeenPatients | None:
        """Returns the names of the training's patients, or None if they are not comparable with those of a dataset.

        Pseudonyms are comparable under the run's key alone, and identifiers of a labels file need not be those of the
        DICOM headers. Names in paths are comparable in the folder of the training alone: another site has a
        `patient_1`, too.

        Args:
            patients: Patients of the dataset; None if they are unknown.
            root: Folder of the dataset.
            named_by: Model whose `pseudonyms` name the dataset's patients; None is this one.
        """
        known = (self.data.get("patients") or {}).get("origin")
        if patients is None or not self.training_patients or known != patients.origin:
            return None
        if patients.origin == "--group-regex":
            is_comparable = self.data_root == root.resolve()
        else:
            has_key = self.run is not None and self.run.patients_key_file.exists()
            is_comparable = has_key and (named_by is None or named_by.run == self.run)
        return SeenPatients(self.training_patients, self.validation_patients) if is_comparable else None

    def count_patients(
        self, seen: SeenPatients | None, names: Sequence[str | None], digests: Sequence[str]
    ) -> dict[str, int | None]:
        """Returns the numbers of `patients` and of those that the model was `trained_on` and `chosen_by`.

        Args:
            seen: Result of `seen_patients`; without it the latter two are None.
            names: Patient of each image, if known, [images].
            digests: Digest of the pixels of each image, [images]. Those of validation images do not count for
                `chosen_by`: they are counted as images.
        """
        there = set(filter(None, names))
        if seen is None:
            return {"patients": len(there), "trained_on": None, "chosen_by": None}
        own = self.chosen_by or frozenset()
        others = {name for name, digest in zip(names, digests, strict=True) if digest not in own}
        trained_on, chosen_by = len(there & seen.trained_on), len(others & seen.chosen_by)
        return {"patients": len(there), "trained_on": trained_on, "chosen_by": chosen_by}

    @property
    def chosen_by(self) -> frozenset[str] | None:
        """Digests of the validation images that selected and calibrated the model, or None if they are unknown."""
        return self.digests.get("valid") or None

    def was_recalibrated_on(self, samples: Sequence[Sample], digests: Digests, classes: Sequence[str]) -> bool:
        """Returns whether these images are those of a recalibration in the model's history.

        They are compared as `ctonnx recalibrate` takes them: each once, without those that the model was trained on.
        """
        entries = (entry.get("data") for entry in self.history)
        known = {data.get("fingerprint") for data in entries if isinstance(data, Mapping)}
        if not known:
            return False
        conflicting, repeated = extra_copies(samples, digests, lambda sample: sample.label)
        left_out, seen = conflicting | repeated, self.trained_on or ()
        kept = [sample for sample in samples if sample not in left_out and digests[sample.path] not in seen]
        return labelled_fingerprint(kept, digests, classes) in known


def open_evaluated_model(path: Path, root: Path = RUNS, *, threads: int | None = None) -> EvaluatedModel:
    """Opens a run's folder, a run's name below `root`, or an `.onnx` file; `threads` are those on a CPU.

    Raises:
        ModelError: If the model does not exist or is damaged.
        ValueError: If `ctonnx.system.cpu.check_threads` rejects the number of threads.
    """
    check_threads(threads)
    if path.suffix == ".onnx" or path.is_file():
        return _onnx(path, threads)
    return _checkpoint(find_run(path, root), threads)


def predict_rows(predictor: "Predictor", store: Pixels, rows: Sequence[int]) -> Outputs:
    """Returns the outputs of an exported model for at least one row of a store.

    Raises:
        ProviderError: If the outputs are not finite.
    """
    batches = []
    disable = True if len(rows) <= _BATCH else None
    with tqdm(total=len(rows), desc="predicting", unit="image", leave=False, disable=disable) as bar:
        for start in range(0, len(rows), _BATCH):
            outputs = predictor.predict_pixels(rgb_pixels(store, rows[start : start + _BATCH]))
            if not np.isfinite(outputs.logits).all():
                raise ProviderError(
                    f"expected finite outputs of '{predictor.path}', found others; compare it with PyTorch: ctonnx "
                    f"verify {predictor.path}"
                )
            batches.append(outputs)
            bar.update(len(outputs))
    return Outputs.concatenate(batches)


def selection_caveats(
    *,
    recalibrated_on: bool,
    chosen_by: int | None,
    chosen_by_patients: int | None = None,
    fitted_on: str = VALIDATION_IMAGES,
) -> list[str]:
    """Returns the caveats of metrics on images that chose the model or the values of its decision.

    Args:
        recalibrated_on: Whether the model was recalibrated on these images.
        chosen_by: Number of them among the validation images of its training, if it is known.
        chosen_by_patients: Number of patients with other images among them, if it is known.
        fitted_on: Name of the images that its values were fitted on.
    """
    found = []
    if recalibrated_on:
        found.append("the model was recalibrated on these very scans: its metrics on them are optimistic")
    values = ", temperature, threshold and prediction sets" if fitted_on == VALIDATION_IMAGES else ""
    for count, what in ((chosen_by, "these images"), (chosen_by_patients, "these patients")):
        if count:
            verb = "is" if count == 1 and what == "these images" else "are"
            others = "" if what == "these images" else "other images of "
            found.append(
                f"{others}{count} of {what} {verb} among the validation images that selected its best epoch{values}: "
                "expect somewhat lower metrics on others"
            )
    return found


def rgb_pixels(store: Pixels, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Returns the pixels of rows as a model's input, uint8 [rows, size, size, 3]."""
    pixels = store.take(rows)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))


def _checkpoint(run: Run, threads: int | None) -> EvaluatedModel:
    import torch
    from scipy.special import softmax

    from ctonnx_train.network.inference import novelty_of, predict_features
    from ctonnx_train.network.threads import computing_threads
    from ctonnx_train.runs.checkpoint import load_checkpoint
    from ctonnx_train.runs.splits_file import read_patients

    checkpoint = load_checkpoint(run)
    record = checkpoint.record
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def predict(store: Pixels, rows: Sequence[int]) -> Predicted:
        with computing_threads(threads):
            features = predict_features(checkpoint.network, store, rows, device=device, batch_size=_BATCH)
            with torch.inference_mode():
                logits = checkpoint.network.head(torch.from_numpy(features).to(device)).cpu().numpy()
            novelty = novelty_of(checkpoint.novelty, features, store, rows) if checkpoint.novelty else None
        values: NDArray[np.float64] = softmax(logits.astype(np.float64) / record.temperature, axis=1)
        return Predicted(values, novelty)

    return EvaluatedModel(
        path=run.folder,
        name=run.name,
        kind="PyTorch checkpoint",
        classes=record.classes,
        preprocessing=record.preprocessing,
        operating_point=record.operating_point,
        prediction_sets=record.prediction_sets,
        patient_rule=record.patient_rule,
        novelty=record.novelty,
        brightness=record.brightness,
        synthetic=record.synthetic,
        data=record.data,
        predict=predict,
        shortcuts=record.shortcuts,
        checkpoint_sha256=checkpoint.sha256,
        run=run,
        class_names=record.folder_classes,
        data_root=Path(record.data["folder"]),
        digests={split: checkpoint.digests(split) for split in SPLITS},
        training_patients=frozenset(read_patients(run, "train").values()),
        validation_patients=frozenset(read_patients(run, "valid").values()),
    )


def _onnx(file: Path, threads: int | None) -> EvaluatedModel:
    from ctonnx.prediction.predictor import Predictor
    from ctonnx_train.runs.record import read_record
    from ctonnx_train.runs.splits_file import read_digests, read_patients

    predictor = Predictor(file, threads=threads, spinning=False)
    spec = predictor.spec

    def predict(store: Pixels, rows: Sequence[int]) -> Predicted:
        if not rows:
            return Predicted(np.empty((0, len(spec.classes)), np.float32))
        outputs = predict_rows(predictor, store, rows)
        return Predicted(outputs.probabilities, outputs.novelty)

    run = Run(file.resolve().parent.parent)  # if the file is in the export folder of its run
    record, digests, patients = None, {}, SeenPatients(frozenset(), frozenset())
    with suppress(ModelError, KeyError):
        found = read_record(run) if run.has_checkpoint else None
        if found and found.data["fingerprint"] == spec.data["fingerprint"]:
            digests = {split: frozenset(read_digests(run, split).values()) for split in SPLITS}
            training, validation = (frozenset(read_patients(run, split).values()) for split in ("train", "valid"))
            patients = SeenPatients(training, validation)
            record = found
    return EvaluatedModel(
        path=file,
        name=spec.name,
        kind=f"ONNX {spec.precision}",
        classes=spec.classes,
        preprocessing=spec.preprocessing,
        operating_point=spec.operating_point,
        prediction_sets=spec.prediction_sets,
        patient_rule=spec.patient_rule,
        novelty=spec.novelty,
        brightness=spec.brightness,
        synthetic=spec.synthetic,
        data=spec.data,
        predict=predict,
        shortcuts=spec.shortcuts,
        fitted_on=fitted_on(spec.history),
        history=spec.history,
        checkpoint_sha256=spec.checkpoint_sha256,
        predictor=predictor,
        run=run if record else None,
        class_names=record.folder_classes if record else {},
        data_root=Path(record.data["folder"]) if record else None,
        digests=digests,
        training_patients=patients.trained_on,
        validation_patients=patients.chosen_by,
    )
