"""A model repository for NVIDIA Triton Inference Server, the way to serve beyond one machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx.outputs import OUTPUT_NAMES
from ctonnx.spec import ModelSpec
from ctonnx.writing import whole_folder
from ctonnx_export.making import Made

__all__ = ["refuse_filled", "write_repository"]

_MAX_BATCH = 32
_PREFERRED = (8, 16, 32)
_DELAY = 2000  # microseconds that a request waits for others


def write_repository(folder: Path, models: Sequence[tuple[Made, Path]]) -> None:
    """Writes a model repository: for each model a folder with its config.pbtxt, its labels and the file as version 1.

    Source: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html

    Args:
        folder: new, or empty.
        models: with their files.

    Raises:
        CtonnxError: the folder holds something.
        OSError: it cannot be written.
    """
    refuse_filled(folder)
    with whole_folder(folder) as temporary:
        for made, file in models:
            inner = temporary / f"{made.spec.name}_{made.precision}"
            (inner / "1").mkdir(parents=True)
            shutil.copyfile(file, inner / "1" / "model.onnx")
            (inner / "config.pbtxt").write_text(_config(inner.name, made.spec), encoding="utf-8")
            (inner / "labels.txt").write_text("".join(f"{name}\n" for name in made.spec.classes), encoding="utf-8")


def refuse_filled(folder: Path) -> None:
    """Raises CtonnxError where the folder of the repository holds something."""
    if folder.is_dir() and any(folder.iterdir()):
        raise CtonnxError(
            f"expected a new or an empty folder for the model repository at '{folder}', found files in it; choose "
            "another --triton"
        )


def _config(name: str, spec: ModelSpec) -> str:
    size, classes = spec.preprocessing.size, len(spec.classes)
    cells = -(-size // 32)
    shapes = {"probabilities": [classes], "logits": [classes], "heatmap": [classes, cells, cells]}
    outputs = ",\n".join(
        f'  {{ name: "{output}" data_type: TYPE_FP32 dims: {shapes[output]}'
        + (' label_filename: "labels.txt"' if output == "probabilities" else "")
        + " }"
        for output in OUTPUT_NAMES
    )
    return f"""# A research tool, not a medical device. Pixels are made as ctonnx.images makes them: RGB, 8 bits.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
  {{ name: "pixels" data_type: TYPE_UINT8 dims: {[size, size, 3]} }}
]
output [
{outputs}
]
# Without a kind, an instance runs on each GPU, or on the CPU where there is none.
instance_group [
  {{ count: 1 }}
]
dynamic_batching {{
  preferred_batch_size: {list(_PREFERRED)}
  max_queue_delay_microseconds: {_DELAY}
}}
"""
