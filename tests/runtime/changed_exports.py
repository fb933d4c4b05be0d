"""Changes to an export: other golden inputs, another weight, another precision."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden, save_golden
from ctonnx.parity.outputs import NOVELTY, Outputs


def change_golden(export: Path, change: Callable[[Golden], Golden]) -> None:
    save_golden(export / FILE_NAME, change(load_golden(export / FILE_NAME)))


def alter_weight(model: Path, amount: float) -> None:
    loaded = onnx.load(model)
    weight = next(weight for weight in loaded.graph.initializer if weight.name.endswith("dense3.bias"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] += amount
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(loaded, model)


def pass_for_int8(export: Path, change: Callable[[Outputs], Outputs]) -> Path:
    """Declares the model as INT8, and replaces PyTorch's golden outputs by `change` of its own."""
    file = export / "model.fp32.onnx"
    loaded = onnx.load(file)
    spec = json.loads(loaded.metadata_props[0].value)
    loaded.metadata_props[0].value = json.dumps({**spec, "precision": "int8"})
    onnx.save(loaded, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    change_golden(
        export,
        lambda golden: replace(
            golden,
            outputs=change(golden.model_outputs["fp32"]),
            model_outputs={"int8": golden.model_outputs["fp32"]},
            model_sha256={"int8": digest},
        ),
    )
    return file


def flipped(outputs: Outputs) -> Outputs:
    """Returns the outputs with another top-1 class for the first image."""
    probabilities = outputs.probabilities.copy()
    probabilities[0] = np.roll(probabilities[0], 1)
    return replace(outputs, probabilities=probabilities)


def as_schema_1(export: Path) -> Path:
    """Turns an export into one of the first releases, without novelty; returns its model."""
    file = export / "model.fp32.onnx"
    loaded = onnx.load(file)
    for output in [output for output in loaded.graph.output if output.name == NOVELTY]:
        loaded.graph.output.remove(output)
    spec = json.loads(loaded.metadata_props[0].value)
    for name in ("novelty", "brightness", "prediction_sets", "shortcuts", "acquisition", "history", "content_checksum"):
        spec.pop(name, None)
    loaded.metadata_props[0].value = json.dumps({**spec, "schema_version": 1})
    onnx.save(loaded, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    def plain(golden: Golden) -> Golden:
        outputs = {name: replace(outputs, novelty=None) for name, outputs in golden.model_outputs.items()}
        return replace(
            golden,
            outputs=replace(golden.outputs, novelty=None),
            model_outputs=outputs,
            model_sha256={**golden.model_sha256, "fp32": digest},
        )

    change_golden(export, plain)
    return file
