"""Optimum's onnxruntime pipeline on the run's network, exported to ONNX with the files it expects.

python -m ctonnx_bench.experiments.end_to_end.peers.optimum --prepare RUN FOLDER
python -m ctonnx_bench.experiments.end_to_end.peers.optimum FOLDER PATH 2
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ctonnx_bench.experiments.end_to_end.peers.peer import export_unit_range, files_below, write_rows


def prepare(run: Path, folder: Path) -> None:
    """Exports the network, with a configuration and a preprocessor that resizes to its input size."""
    importlib.import_module("optimum.onnxruntime")  # a separate package: fails early without it
    record = export_unit_range(run, folder / "model.onnx", softmax=False, names=("pixel_values", "logits"))
    size = record.preprocessing.size
    config = {"model_type": "resnet", "id2label": dict(enumerate(record.classes))}
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": size, "width": size},
        "resample": 2,  # Pillow's bilinear
        "rescale_factor": 1 / 255,
        "do_normalize": False,  # the network normalizes
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")


def predict(folder: Path, path: Path) -> Iterator[tuple[str, str, float]]:
    """Yields the file, label and probability of each image."""
    optimum, transformers = (importlib.import_module(name) for name in ("optimum.onnxruntime", "transformers"))
    model = optimum.ORTModelForImageClassification.from_pretrained(folder, file_name="model.onnx")
    processor = transformers.ViTImageProcessor.from_pretrained(folder)
    classify = optimum.pipeline("image-classification", model=model, image_processor=processor)
    files = [str(file) for file in files_below(path)]
    for file, best in zip(files, classify(files, batch_size=8, top_k=1), strict=True):
        yield file, best[0]["label"], best[0]["score"]


if __name__ == "__main__":
    if sys.argv[1] == "--prepare":
        prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        write_rows(predict(Path(sys.argv[1]), Path(sys.argv[2])), sys.stdout)
