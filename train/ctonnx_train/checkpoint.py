"""A trained run on the disk: weights in safetensors, its record and its splits in JSON; nothing is pickled."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.runs import Run
from ctonnx.writing import whole_file, write_text
from ctonnx_train.network import CTClassifier
from ctonnx_train.splits import Sample, Split

__all__ = ["Checkpoint", "RunRecord", "load_checkpoint", "save_checkpoint"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json holds.

    Attributes:
        created: when the training ended, ISO 8601 in UTC.
        classes: class names, in the order of the logits.
        folder_classes: for each class folder's name, the canonical name that it was given.
        preprocessing: how a file becomes the network's pixels.
        data: `folder` (absolute), `name`, `fingerprint`, and `images` for each split and class.
        synthetic: whether the images are generated phantoms.
        settings: what was chosen for the training.
        training: what came of it: epochs run, the best one, its validation loss, precision, device, seconds.
        metrics: figures on `valid` and, where there is one, on `test`.
        versions: of ctonnx and the libraries.
    """

    created: str
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    preprocessing: Preprocessing
    data: Mapping[str, Any]
    synthetic: bool
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str]

    def to_json(self) -> str:
        """Returns the text of run.json."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Reads the text of run.json; fields of a later release are passed over.

        Raises:
            ValueError, KeyError, TypeError: the text is not a run's record.
        """
        values = dict(json.loads(text))
        if values.pop("schema_version") > SCHEMA_VERSION:
            raise ValueError("the run was trained by a newer ctonnx")
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in values.items() if name in known}
        values["classes"] = tuple(values["classes"])
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained run in memory.

    Attributes:
        run: its folder.
        record: its run.json.
        network: in evaluation mode, on the CPU, in float32.
        sha256: of the weights file.
    """

    run: Run
    record: RunRecord
    network: CTClassifier
    sha256: str

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """Returns the images of a split, as splits.json keeps them.

        Raises:
            ModelError: splits.json is missing or damaged.
        """
        try:
            rows = json.loads(self.run.splits_file.read_text(encoding="utf-8"))[split]
            return tuple(Sample(path, label) for path, label in rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"expected the run's splits in '{self.run.splits_file}', found {error!r}; train again"
            ) from error


def save_checkpoint(
    run: Run, network: CTClassifier, record: RunRecord, splits: Mapping[Split, tuple[Sample, ...]]
) -> None:
    """Writes a run's checkpoint; run.json, which makes the run count, comes last.

    Raises:
        OSError: the folder cannot be written to.
    """
    rows = {split: [[sample.path, sample.label] for sample in samples] for split, samples in splits.items()}
    write_text(run.splits_file, json.dumps(rows, indent=0) + "\n")
    with whole_file(run.weights_file) as temporary:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        try:
            save_file(state, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # so it reports a full disk
            raise OSError(str(error)) from error
    write_text(run.record_file, record.to_json())


def load_checkpoint(run: Run) -> Checkpoint:
    """Reads a run's checkpoint.

    Raises:
        ModelError: a file of it is missing, damaged, or does not fit the others.
    """
    try:
        record = RunRecord.from_json(run.record_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"expected a run's record in '{run.record_file}', found {error!r}; train again") from error
    network = CTClassifier(len(record.classes))
    try:
        network.load_state_dict(load_file(run.weights_file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"expected the weights of a {len(record.classes)}-class ctonnx network in '{run.weights_file}', found a "
            f"damaged or another file ({' '.join(str(error).split())[:200]}); train again"
        ) from error
    return Checkpoint(run=run, record=record, network=network.eval(), sha256=_sha256(run.weights_file))


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
