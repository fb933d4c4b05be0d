"""Model repository for NVIDIA Triton Inference Server, to serve on more than one machine."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError
from ctonnx.parity.outputs import NOVELTY, output_names
from ctonnx.system.files import atomic_folder

__all__ = ["check_empty", "check_separate", "write_repository"]

_MAX_BATCH = 32
_PREFERRED = (8, 16, 32)
_DELAY = 2000  # microseconds that a request waits for others in its batch
_ANYWHERE = """\
# Without a kind, an instance runs on each GPU, or on the CPU if there is none.
instance_group [
  { count: 1 }
]"""
_ON_CPU = """\
# Quantized for CPUs.
instance_group [
  { count: 1 kind: KIND_CPU }
]"""
_IN_TENSORRT = """\
# Quantized for TensorRT, used through onnxruntime; the model contains the scales.
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
_INSTANCES = {"x86": _ON_CPU, "amx": _ON_CPU, "arm": _ON_CPU, "tensorrt": _IN_TENSORRT}  # by the target of INT8


def write_repository(folder: Path, models: Sequence[tuple[ModelSpec, Path]]) -> None:
    """Writes a model repository: for each model a folder with config.pbtxt, labels and the file as version 1.

    An INT8 model is served on the device that it was quantized for: the CPU, or a GPU through TensorRT.
    Sources: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
    and, for the accelerator, .../user-guide/docs/onnxruntime_backend/README.html

    Raises:
        CtonnxError: If the folder is not empty.
        OSError: If the folder cannot be written.
    """
    check_empty(folder)
    with atomic_folder(folder) as temporary:
        for spec, file in models:
            inner = temporary / f"{spec.name}_{spec.precision}"
            (inner / "1").mkdir(parents=True)
            shutil.copyfile(file, inner / "1" / "model.onnx")
            (inner / "config.pbtxt").write_text(_config(inner.name, spec), encoding="utf-8")
            (inner / "labels.txt").write_text("".join(f"{name}\n" for name in spec.classes), encoding="utf-8")


def check_empty(folder: Path) -> None:
    """Raises CtonnxError if the folder of the repository is not empty."""
    if folder.is_dir() and any(folder.iterdir()):
        raise CtonnxError(
            f"expected a new or empty folder for the model repository at '{folder}', found files in it; choose "
            "another --triton"
        )


def check_separate(folder: Path, export_folder: Path) -> None:
    """Raises CtonnxError if one of the two folders is within the other, as each is replaced as a whole."""
    one, other = folder.resolve(), export_folder.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise CtonnxError(
            f"expected separate folders for the model repository and the export, found --triton '{folder}' and "
            f"the export in '{export_folder}'; choose another --triton"
        )


def _config(name: str, spec: ModelSpec) -> str:
    size, classes = spec.preprocessing.size, len(spec.classes)
    cells = -(-size // 32)
    shapes = {"probabilities": [classes], "logits": [classes], "heatmap": [classes, cells, cells], NOVELTY: [1]}
    outputs = ",\n".join(
        f'  {{ name: "{output}" data_type: TYPE_FP32 dims: {shapes[output]}'
        + (' label_filename: "labels.txt"' if output == "probabilities" else "")
        + (" reshape { shape: [] }" if output == NOVELTY else "")  # Triton allows no empty dims
        + " }"
        for output in output_names([NOVELTY] if spec.novelty else [])
    )
    return f"""# A research tool, not a medical device.
# Pixels are RGB, 8 bits; see docs/reference/images.md of ctonnx for the conversion of files.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
  {{ name: "pixels" data_type: TYPE_UINT8 dims: {[size, size, 3]} }}
]
output [
{outputs}
]
{_INSTANCES[spec.quantization["target"]] if spec.quantization else _ANYWHERE}
dynamic_batching {{
  preferred_batch_size: {list(_PREFERRED)}
  max_queue_delay_microseconds: {_DELAY}
}}
"""
