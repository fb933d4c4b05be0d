"""Arguments and output that the peers share: each peer is one small program that classifies a folder.

    python -m ctonnx_bench.experiments.end_to_end.peers.NAME MODEL PATH THREADS
    python -m ctonnx_bench.experiments.end_to_end.peers.NAME --prepare RUN FOLDER

The first command prints file, label and probability of each image; the second makes MODEL, except for PyTorch, which
reads the run. Imports are part of the measured time, so a program has them at its top as usual. The programs are called
`__main__`, so that nothing imports them by accident. `peers.ctonnx` is `ctonnx predict` with a clock between its steps.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from ctonnx_train.runs.record import RunRecord

__all__ = ["PEERS", "Peer", "export_unit_range", "files_below", "read_rows", "write_rows"]


class Peer(NamedTuple):
    """Title of a peer's column, modules that it needs, and the argument of `pip install` for its own module."""

    title: str
    modules: tuple[str, ...]
    install: str


_NETWORK = ("torch", "torchvision", "safetensors")
PEERS = {
    "pytorch": Peer("PyTorch eager", _NETWORK, "ctonnx[train]"),
    "ultralytics": Peer("Ultralytics", (*_NETWORK, "onnx", "onnxscript", "ultralytics"), "ultralytics"),
    "optimum": Peer("Optimum", (*_NETWORK, "onnxscript", "transformers", "optimum"), "optimum-onnx"),
}


def files_below(path: Path) -> list[Path]:
    """Returns the PNG files of a folder in order, or the path itself if it is a file."""
    return sorted(path.glob("*.png")) if path.is_dir() else [path]


def write_rows(rows: Iterable[tuple[str, str, float]], out: TextIO) -> None:
    """Writes a CSV row for each image: file, label and the label's probability."""
    writer = csv.writer(out)
    writer.writerow(("file", "label", "probability"))
    writer.writerows((file, label, f"{probability:.6f}") for file, label, probability in rows)


def read_rows(text: str) -> dict[str, tuple[str, float]]:
    """Returns label and probability by file name, from rows of `write_rows` or of `ctonnx predict`."""
    rows = csv.DictReader(text.splitlines())
    return {Path(row["file"]).name: (row["label"], float(row["probability"])) for row in rows}


def export_unit_range(run_folder: Path, file: Path, *, softmax: bool, names: tuple[str, str]) -> "RunRecord":
    """Exports a run's network in the common form: float pixels from 0 to 1, one output, a dynamic batch size.

    The output is probabilities with `softmax`, or else logits; `names` are those of the input and the output. Returned
    is the run's record.
    """
    import torch

    from ctonnx.artifacts.run import Run
    from ctonnx_train.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(Run(run_folder))
    temperature = checkpoint.record.temperature

    class UnitRange(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = checkpoint.network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(pixels * 255) / temperature
            return logits.softmax(1) if softmax else logits

    size = checkpoint.record.preprocessing.size
    torch.onnx.export(
        UnitRange().eval(),
        (torch.zeros(2, 3, size, size),),
        file,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return checkpoint.record
