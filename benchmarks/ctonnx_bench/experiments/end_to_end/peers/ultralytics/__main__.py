"""Ultralytics' own prediction loop on the run's network, exported to ONNX with the input and metadata it expects.

python -m ctonnx_bench.experiments.end_to_end.peers.ultralytics --prepare RUN FOLDER
python -m ctonnx_bench.experiments.end_to_end.peers.ultralytics FOLDER PATH 2
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

from ctonnx_bench.experiments.end_to_end.peers.peer import export_unit_range, write_rows


def prepare(run: Path, folder: Path) -> None:
    """Exports the network, with the metadata of Ultralytics' exporter."""
    import onnx

    file = folder / "model.onnx"
    record = export_unit_range(run, file, softmax=True, names=("images", "output0"))
    size = record.preprocessing.size
    model = onnx.load(file)
    about = {"task": "classify", "stride": 32, "batch": 8, "channels": 3, "imgsz": [size, size]}
    about |= {"names": dict(enumerate(record.classes)), "args": {"batch": 8, "dynamic": True}}
    onnx.helper.set_model_props(model, {name: str(value) for name, value in about.items()})
    onnx.save(model, file)
    (folder / "size.json").write_text(json.dumps(size), encoding="utf-8")


def predict(folder: Path, path: Path) -> Iterator[tuple[str, str, float]]:
    """Yields the file, label and probability of each image."""
    # By default it would install packages, send usage data and write to the user's settings.
    os.environ |= {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    size = json.loads((folder / "size.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as settings:
        os.environ["YOLO_CONFIG_DIR"] = settings
        model = importlib.import_module("ultralytics").YOLO(str(folder / "model.onnx"), task="classify")
        options = {"imgsz": size, "batch": 8, "device": "cpu", "stream": True, "verbose": False, "save": False}
        for found in model.predict(source=str(path), **options):
            yield found.path, found.names[found.probs.top1], float(found.probs.top1conf)


if __name__ == "__main__":
    if sys.argv[1] == "--prepare":
        prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        rows_to = sys.stdout
        with redirect_stdout(sys.stderr):  # it prints messages to stdout
            write_rows(predict(Path(sys.argv[1]), Path(sys.argv[2])), rows_to)
