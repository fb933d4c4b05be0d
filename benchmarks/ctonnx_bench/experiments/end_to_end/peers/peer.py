"""What a good engineer would run on the same folder without ctonnx: each peer is one small program in a folder here.

    python -m ctonnx_bench.experiments.end_to_end.peers.NAME MODEL PATH THREADS     prints file,label,probability for
    each image python -m ctonnx_bench.experiments.end_to_end.peers.NAME --prepare RUN FOLDER   makes MODEL, unless it
    is the run itself

A program's imports stand at its top, as anyone would write it: they are part of what is timed. `ctonnx` among them is
`ctonnx predict` with a clock between its steps. They are called `__main__`, so that nothing imports them by chance.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from ctonnx_train.runs.record import RunRecord

__all__ = ["PEERS", "Peer", "export_unit_range", "files_below", "read_answers", "write_rows"]


class Peer(NamedTuple):
    """The title of a peer's column, the modules that it needs, and what installs the one that is its own."""

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
    """Returns the PNG files of a folder in order, or the one file that was named."""
    return sorted(path.glob("*.png")) if path.is_dir() else [path]


def write_rows(rows: Iterable[tuple[str, str, float]], out: TextIO) -> None:
    """Writes a line for each image: its file, its label and the label's probability."""
    writer = csv.writer(out)
    writer.writerow(("file", "label", "probability"))
    writer.writerows((file, label, f"{probability:.6f}") for file, label, probability in rows)


def read_answers(text: str) -> dict[str, tuple[str, float]]:
    """Returns the label and its probability for each file name in such lines, or in those of `ctonnx predict`."""
    rows = csv.DictReader(text.splitlines())
    return {Path(row["file"]).name: (row["label"], float(row["probability"])) for row in rows}


def export_unit_range(run_folder: Path, file: Path, *, softmax: bool, names: tuple[str, str]) -> "RunRecord":
    """Exports a run's network as others expect one: float pixels from 0 to 1 in, one answer out, the batch free.

    Args:
        run_folder: A run's folder.
        file: The `.onnx` file to make.
        softmax: Whether the answer is probabilities, or else logits.
        names: of the input and the output.

    Returns:
        The run's record.
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
