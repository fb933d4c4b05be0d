"""A model repository for NVIDIA Triton Inference Server, the way to serve beyond one machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError
from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx.system.files import atomic_folder

__all__ = ["refuse_entangled", "refuse_filled", "write_repository"]

_MAX_BATCH = 32
_PREFERRED = (8, 16, 32)
_DELAY = 2000  # microseconds that a request waits for others
_ANYWHERE = """\
# Without a kind, an instance runs on each GPU, or on the CPU where there is none.
instance_group [
  { count: 1 }
]"""
_ON_CPU = """\
# Quantized for CPUs.
instance_group [
  { count: 1 kind: KIND_CPU }
]"""
_IN_TENSORRT = """\
# Quantized for TensorRT, which onnxruntime hands it to; the scales stand in the model.
instance_group [
  { count: 1 kind: KIND_GPU }
]
optimization {
  execution_accelerators {
    gpu_execution_accelerator [
      { name: "tensorrt" parameters { key: "precision_mode" value: "INT8" } }
    ]
  }
}"""
_PLACES = {"x86": _ON_CPU, "amx": _ON_CPU, "arm": _ON_CPU, "tensorrt": _IN_TENSORRT}  # by the target of an INT8 model


def write_repository(folder: Path, models: Sequence[tuple[ModelSpec, Path]]) -> None:
    """Writes a model repository: for each model a folder with its config.pbtxt, its labels and the file as version 1.

    An INT8 model is served on what it was quantized for: the CPU, or a GPU through TensorRT.
    Sources: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
    and, for the accelerator, .../user-guide/docs/onnxruntime_backend/README.html

    Args:
        folder: New, or empty.
        models: what each says about itself, and its file.

    Raises:
        CtonnxError: The folder holds something.
        OSError: it cannot be written.
    """
    refuse_filled(folder)
    with atomic_folder(folder) as temporary:
        for spec, file in models:
            inner = temporary / f"{spec.name}_{spec.precision}"
            (inner / "1").mkdir(parents=True)
            shutil.copyfile(file, inner / "1" / "model.onnx")
            (inner / "config.pbtxt").write_text(_config(inner.name, spec), encoding="utf-8")
            (inner / "labels.txt").write_text("".join(f"{name}\n" for name in spec.classes), encoding="utf-8")


def refuse_filled(folder: Path) -> None:
    """Raises CtonnxError where the folder of the repository holds something."""
    if folder.is_dir() and any(folder.iterdir()):
        raise CtonnxError(
            f"expected a new or an empty folder for the model repository at '{folder}', found files in it; choose "
            "another --triton"
        )


def refuse_entangled(folder: Path, export_folder: Path) -> None:
    """Raises CtonnxError where one of the two folders lies in the other: each is written as a whole."""
    one, other = folder.resolve(), export_folder.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise CtonnxError(
            f"expected the model repository and the export in folders beside each other, found --triton '{folder}' and "
            f"the export in '{export_folder}'; choose another --triton"
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
    return f"""# A research tool, not a medical device.
# Pixels are RGB, 8 bits; docs/reference/images.md of ctonnx tells how files become pixels.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
  {{ name: "pixels" data_type: TYPE_UINT8 dims: {[size, size, 3]} }}
]
output [
{outputs}
]
{_PLACES[spec.quantization["target"]] if spec.quantization else _ANYWHERE}
dynamic_batching {{
  preferred_batch_size: {list(_PREFERRED)}
  max_queue_delay_microseconds: {_DELAY}
}}
"""
