"""PyTorch eager on a run's checkpoint: batches of 8, no gradients, every core.

python -m ctonnx_bench.experiments.end_to_end.peers.pytorch RUN PATH THREADS
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ctonnx.artifacts.run import Run
from ctonnx.images import load, to_pixels
from ctonnx_bench.experiments.end_to_end.peers.peer import files_below, write_rows
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.record import read_record

BATCH = 8


def predict(run: Run, path: Path) -> Iterator[tuple[str, str, float]]:
    """Yields the file, label and probability of each image."""
    record = read_record(run)
    network = CTClassifier(len(record.classes))
    network.load_state_dict(load_file(run.weights_file))
    network.eval().to(memory_format=torch.channels_last)  # as the pixels, which is faster
    files = files_below(path)
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            pixels = np.stack([to_pixels(load(file), record.preprocessing) for file in batch])
            logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            best = (logits / record.temperature).softmax(1).max(1)
            for file, value, index in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
                yield str(file), record.classes[index], value


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    write_rows(predict(Run(Path(sys.argv[1])), Path(sys.argv[2])), sys.stdout)
