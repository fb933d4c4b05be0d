"""A trained run on the disk: weights in safetensors, its record and its splits in JSON; nothing is pickled."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx.system.file_reading import reason_of
from ctonnx.system.files import atomic_file, sha256_of, write_text
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.record import RunRecord, read_record
from ctonnx_train.runs.splits_file import read_digests, read_samples, write_splits

__all__ = ["STAGED", "Checkpoint", "load_checkpoint", "save_checkpoint"]

STAGED = ".reports.part"
"""The folder of reports that are not in their place yet, below a run's own."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained run in memory.

    Attributes:
        run: Its folder.
        record: Its run.json.
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
        samples = read_samples(self.run, split)
        if wrong := next((sample for sample in samples if sample.label >= len(self.record.classes)), None):
            raise ModelError(
                f"expected the run's splits in '{self.run.splits_file}', found '{wrong.path}' of class {wrong.label}, "
                f"where there are {len(self.record.classes)}; train again"
            )
        return samples

    def digests(self, split: Split) -> frozenset[str]:
        """Returns the digests of a split's images, by which they are known again under any name.

        Raises:
            ModelError: splits.json is missing or damaged.
        """
        return frozenset(self.digests_by_path(split).values())

    def digests_by_path(self, split: Split) -> Mapping[str, str]:
        """Returns the digest of each of a split's images, by its path.

        Raises:
            ModelError: splits.json is missing or damaged.
        """
        return read_digests(self.run, split)


def save_checkpoint(
    run: Run,
    network: CTClassifier,
    record: RunRecord,
    splits: Mapping[Split, tuple[Sample, ...]],
    digests: Mapping[str, str],
    reports: Callable[[Path], None] = lambda folder: None,
) -> RunRecord:
    """Writes a run's checkpoint and reports, so that at every moment a whole run stands there, or none.

    The record names its weights by their SHA-256, and its rename is the moment at which an earlier checkpoint, of a
    training that was stopped, gives way. Until then the new weights lie beside the earlier ones, and for a moment after
    it still do; `load_checkpoint` takes those that the record names. Reports are made before anything is replaced.
    While they are moved to their place, those of the earlier checkpoint are gone: none is ever beside another record.

    Args:
        run: Its folder.
        network: Its weights.
        record: Its run.json.
        splits: which image stood in which split.
        digests: `ctonnx_train.data.pixel_store.pixel_digest` of each image, by path.
        reports: Writes the run's reports, into the folder that it is given.

    Returns:
        The record as it was written, with the SHA-256 of the weights.

    Raises:
        OSError: The folder cannot be written to.
    """
    write_splits(run, splits, digests)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = save(state, metadata={"format": "pt"})  # save_file's files are for their owner alone
    record = replace(record, weights_sha256=sha256_of(content))
    with atomic_file(run.next_weights_file) as temporary:
        temporary.write_bytes(content)
    staged = run.folder / STAGED
    shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
    staged.mkdir()
    try:
        reports(staged)
        made = {file: run.folder / file.relative_to(staged) for file in sorted(staged.rglob("*")) if file.is_file()}
        for place in made.values():
            place.unlink(missing_ok=True)
        write_text(run.record_file, record.to_json())
    except BaseException:
        run.next_weights_file.unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        raise
    run.next_weights_file.replace(run.weights_file)
    for file, place in made.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
    shutil.rmtree(staged, ignore_errors=True)
    return record


def load_checkpoint(run: Run) -> Checkpoint:
    """Reads a run's checkpoint.

    Raises:
        ModelError: A file of it is missing, damaged, or does not fit the others.
    """
    record = read_record(run)
    network = CTClassifier(len(record.classes))
    try:
        file, digest = _weights_of(run, record)
        network.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        detail = reason_of(error) if isinstance(error, OSError) else " ".join(str(error).split())[:200]
        raise ModelError(
            f"expected the weights of a {len(record.classes)}-class ctonnx network in '{run.weights_file}', found a "
            f"damaged or another file ({detail}); train again"
        ) from error
    return Checkpoint(run=run, record=record, network=network.eval(), sha256=digest)


def _weights_of(run: Run, record: RunRecord) -> tuple[Path, str]:
    """Returns the weights file that belongs to a record, and its SHA-256."""
    digest = sha256_of(run.weights_file)
    if record.weights_sha256 in (None, digest):
        return run.weights_file, digest
    if run.next_weights_file.is_file() and sha256_of(run.next_weights_file) == record.weights_sha256:
        return run.next_weights_file, str(record.weights_sha256)
    raise ModelError(
        f"expected the weights that '{run.record_file}' was written with (SHA-256 {record.weights_sha256[:12]}), found "
        f"others in '{run.weights_file}' ({digest[:12]}): they are of another training, or damaged; copy both from one "
        "place again, or train again"
    )
