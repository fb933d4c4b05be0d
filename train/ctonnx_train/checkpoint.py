"""A trained run on the disk: weights in safetensors, its record and its splits in JSON; nothing is pickled."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ctonnx.errors import ModelError
from ctonnx.runs import Run
from ctonnx.writing import whole_file, write_text
from ctonnx_train.network import CTClassifier
from ctonnx_train.records import RunRecord, read_digests, read_record, read_samples, write_splits
from ctonnx_train.splits import Sample, Split

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


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
        return read_samples(self.run, split)

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
) -> None:
    """Writes a run's checkpoint; run.json, which makes the run count, comes last.

    Args:
        run: its folder.
        network: its weights.
        record: its run.json.
        splits: which image stood in which split.
        digests: `ctonnx_train.pixels.pixel_digest` of each image, by path.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_splits(run, splits, digests)
    with whole_file(run.weights_file) as temporary:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        temporary.write_bytes(save(state, metadata={"format": "pt"}))  # save_file's files are for their owner alone
    write_text(run.record_file, record.to_json())


def load_checkpoint(run: Run) -> Checkpoint:
    """Reads a run's checkpoint.

    Raises:
        ModelError: a file of it is missing, damaged, or does not fit the others.
    """
    record = read_record(run)
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
