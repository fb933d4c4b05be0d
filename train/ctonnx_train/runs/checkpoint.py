"""A trained run: weights in safetensors, record and splits in JSON; nothing is pickled."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import nn

from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx.system.file_reading import reason_of
from ctonnx.system.files import atomic_file, sha256_of, write_text
from ctonnx_train.data.splits import Sample, Split, Splits
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.runs.record import RunRecord, read_record
from ctonnx_train.runs.splits_file import read_digests, read_patients, read_samples, write_splits

__all__ = ["STAGED", "Checkpoint", "load_checkpoint", "save_checkpoint"]

STAGED = ".reports.part"
"""Temporary folder, in the run's folder, of reports that are not in place yet."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained run in memory: its network is in evaluation mode, on the CPU, in float32.

    `sha256` is that of the weight file. `novelty` is the distance from the training images; None if the run has none,
    as runs of earlier releases. The methods raise ModelError if splits.json is missing or damaged.
    """

    run: Run
    record: RunRecord
    network: CTClassifier
    sha256: str
    novelty: NoveltyDistance | None = None

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """Returns the images of a split, in the order of splits.json."""
        samples = read_samples(self.run, split)
        if wrong := next((sample for sample in samples if sample.label >= len(self.record.classes)), None):
            raise ModelError(
                f"expected the run's splits in '{self.run.splits_file}', found '{wrong.path}' of class {wrong.label}, "
                f"but the model has {len(self.record.classes)} classes; train again"
            )
        return samples

    def digests(self, split: Split) -> frozenset[str]:
        """Returns the digests of a split's images, which identify them under any name."""
        return frozenset(self.digests_by_path(split).values())

    def digests_by_path(self, split: Split) -> Mapping[str, str]:
        """Returns the digest of each image of a split by path."""
        return read_digests(self.run, split)

    def patients_by_path(self, split: Split) -> Mapping[str, str]:
        """Returns the patient of each image of a split by path, without images of unknown ones."""
        return read_patients(self.run, split)


def save_checkpoint(
    run: Run,
    network: CTClassifier,
    record: RunRecord,
    splits: Splits,
    digests: Mapping[str, str],
    reports: Callable[[Path], None] = lambda folder: None,
    *,
    novelty: NoveltyDistance | None = None,
    patients: Mapping[str, str] | None = None,
) -> RunRecord:
    """Writes a run's checkpoint and reports, and returns the record as written, with the SHA-256 of the weights.

    At every moment the folder contains a complete run or none.

    The record contains the SHA-256 of its weights and of its novelty distance, and renaming it replaces an earlier
    checkpoint of a stopped training. Until then, and for a moment after, the new files are next to the earlier ones;
    `load_checkpoint` reads those that the record names. Reports are written to a temporary folder first. The earlier
    reports are removed before the record is replaced, so that no report is ever next to another run's record.

    `digests` are of `ctonnx_train.data.pixel_store.pixel_digest` and `patients` are names, by path; `reports`
    writes into the given folder.

    Raises:
        OSError: The folder cannot be written to.
    """
    write_splits(run, splits, digests, patients)
    record = replace(record, weights_sha256=_stage(run.next_weights_file, network))
    staged = run.folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)  # left by a killed process
    staged.mkdir()
    try:
        if novelty is not None:
            record = replace(record, novelty_sha256=_stage(run.next_novelty_file, novelty))
        reports(staged)
        made = {file: run.folder / file.relative_to(staged) for file in sorted(staged.rglob("*")) if file.is_file()}
        for place in made.values():
            place.unlink(missing_ok=True)
        write_text(run.record_file, record.to_json())
    except BaseException:
        run.next_weights_file.unlink(missing_ok=True)
        run.next_novelty_file.unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        raise
    run.next_weights_file.replace(run.weights_file)
    if novelty is not None:
        run.next_novelty_file.replace(run.novelty_file)
    else:
        run.novelty_file.unlink(missing_ok=True)  # of the earlier checkpoint
    for file, place in made.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    shutil.rmtree(staged, ignore_errors=True)
    return record


def _stage(file: Path, module: nn.Module) -> str:
    """Writes a module's tensors next to those of the earlier checkpoint, and returns their SHA-256."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    content = save(state, metadata={"format": "pt"})  # save_file's files can be read only by their owner
    with atomic_file(file) as temporary:
        temporary.write_bytes(content)
    return sha256_of(content)


def load_checkpoint(run: Run) -> Checkpoint:
    """Reads a run's checkpoint.

    Raises:
        ModelError: A file is missing, damaged, or inconsistent with the others.
    """
    record = read_record(run)
    network = CTClassifier(len(record.classes))
    try:
        file, digest = _weights_of(run, record)
        state = load_file(file)
        network.fit_widths(state)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        detail = reason_of(error) if isinstance(error, OSError) else " ".join(str(error).split())[:200]
        raise ModelError(
            f"expected the weights of a {len(record.classes)}-class ctonnx network in '{run.weights_file}', found "
            f"another or a damaged file ({detail}); train again"
        ) from error
    return Checkpoint(run=run, record=record, network=network.eval(), sha256=digest, novelty=_load_novelty(run, record))


def _load_novelty(run: Run, record: RunRecord) -> NoveltyDistance | None:
    """Returns the distance that the record names by its SHA-256, or None if it names none."""
    if record.novelty is None or record.novelty_sha256 is None:
        return None
    found = "none"
    for file in (run.novelty_file, run.next_novelty_file):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            found = reason_of(error)
            continue
        if (digest := sha256_of(content)) == record.novelty_sha256:
            arrays = {name: tensor.numpy() for name, tensor in load(content).items()}
            return NoveltyDistance(arrays, record.preprocessing.size)
        found = f"others ({digest[:12]})"
    raise ModelError(
        f"expected the distance from the training images that '{run.record_file}' was written with (SHA-256 "
        f"{record.novelty_sha256[:12]}) in '{run.novelty_file}', found {found}; copy all files of the run again, or "
        "train again"
    )


def _weights_of(run: Run, record: RunRecord) -> tuple[Path, str]:
    """Returns the weight file of a record, and its SHA-256."""
    digest = sha256_of(run.weights_file)
    if record.weights_sha256 in (None, digest):
        return run.weights_file, digest
    if run.next_weights_file.is_file() and sha256_of(run.next_weights_file) == record.weights_sha256:
        return run.next_weights_file, str(record.weights_sha256)
    raise ModelError(
        f"expected the weights that '{run.record_file}' was written with (SHA-256 {record.weights_sha256[:12]}), found "
        f"others in '{run.weights_file}' ({digest[:12]}), from another training or damaged; copy both files again from "
        "one run, or train again"
    )
