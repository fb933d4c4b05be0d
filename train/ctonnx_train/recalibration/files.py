"""The recalibrated model's file, with its golden inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden, save_golden
from ctonnx.artifacts.onnx_file.integrity import content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CheckFailed, CtonnxError
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.files import atomic_file, made_folders, sha256_of
from ctonnx_train.recalibration.temperature import network_sha256, replace_temperature

__all__ = ["check_output", "write_model"]

_MAX_DP = 1e-5  # rounding of a softmax in float32


def check_output(model: Path, output: Path) -> None:
    """Raises CtonnxError unless the output is a new .onnx file, in a folder without the golden inputs of others."""
    if output.suffix != ".onnx" or output.is_dir():
        raise CtonnxError(f"expected a file name that ends in .onnx for --output, found '{output}'")
    if output.exists():
        what = "the model itself" if output.samefile(model) else "a file"
        raise CtonnxError(
            f"expected a new file for --output, found {what} at '{output}'; choose another name: the earlier model "
            "stays as it is"
        )
    golden = output.parent / FILE_NAME
    if golden.exists():
        raise CtonnxError(
            f"expected a folder without {FILE_NAME} for --output, found '{golden}', which belongs to other models; "
            f"choose a folder of its own, such as {output.parent / 'recalibrated' / output.name}"
        )


def write_model(model: Path, output: Path, spec: ModelSpec, pixels: NDArray[np.uint8]) -> tuple[str, Path | None]:
    """Writes a model with another temperature and spec, and its golden inputs next to it if the model has some.

    The file is opened and run before it gets its name: its logits must be the model's own, bit by bit.

    Args:
        model: Model file, which is not changed.
        output: New file.
        spec: Its spec, without the checksum.
        pixels: Images to compare both files on, uint8 [images, size, size, 3].

    Returns:
        The SHA-256 of the network, the same in both files, and the new golden inputs, or None if the model has none.

    Raises:
        CheckFailed: If the outputs are not those of the model with the new temperature.
        ModelError: If the model or its golden inputs are damaged.
        OSError: If a file cannot be written.
    """
    before = onnx.load(model)
    made = replace_temperature(before, spec.temperature)
    network = network_sha256(before)
    if network_sha256(made) != network:
        raise CheckFailed(f"expected the weights of '{model}' unchanged, found that they were not; report this")
    del before, made.metadata_props[:]
    content = made.SerializeToString()
    check_graph(content, name="the recalibrated model")
    spec = replace(spec, content_checksum=content_checksum(content))
    onnx.helper.set_model_props(made, {METADATA_KEY: spec.to_json()})
    content = made.SerializeToString()
    del made
    golden = _golden_of(model, spec)
    with made_folders(output.parent):
        with atomic_file(output) as temporary:
            temporary.write_bytes(content)
            _compare(model, temporary, spec.temperature, pixels)
        if golden is None:
            return network, None
        file = output.parent / FILE_NAME
        try:
            save_golden(file, _recalibrated_golden(golden, spec, sha256_of(content)))
        except BaseException:
            output.unlink()  # the two belong together
            raise
    return network, file


def _compare(model: Path, made: Path, temperature: float, pixels: NDArray[np.uint8]) -> None:
    """Raises CheckFailed unless the new file computes the same logits, and their probabilities."""
    outputs = []
    for file in (model, made):
        with Predictor(file, spinning=False) as predictor:
            outputs.append(predictor.predict_pixels(pixels))
    before, after = outputs
    same = all(np.array_equal(getattr(before, name), getattr(after, name)) for name in ("logits", "heatmap", "novelty"))
    difference = float(np.abs(after.probabilities - _probabilities(after, temperature)).max())
    if not same or not difference <= _MAX_DP:
        raise CheckFailed(
            "expected the recalibrated model to compute the same logits and heatmaps as the model, and their "
            f"probabilities within {_MAX_DP:g}, found {'the same' if same else 'other'} logits or heatmaps and "
            f"probabilities that differ by {difference:.3g}; nothing was written"
        )


def _golden_of(model: Path, spec: ModelSpec) -> Golden | None:
    """Returns the golden inputs next to a model, or None if there are none, or they are of another export."""
    file = model.parent / FILE_NAME
    if not file.is_file():
        return None
    golden = load_golden(file)
    return golden if golden.model_sha256.get(spec.precision) == sha256_of(model) else None


def _recalibrated_golden(golden: Golden, spec: ModelSpec, digest: str) -> Golden:
    """Returns golden inputs with the probabilities of another temperature, for one model file with a SHA-256.

    PyTorch's logits, and the model's own at export, stay: its network is the same.
    """
    own = golden.model_outputs[spec.precision]
    return replace(
        golden,
        outputs=_recalibrated(golden.outputs, spec.temperature),
        model_outputs={spec.precision: _recalibrated(own, spec.temperature)},
        model_sha256={spec.precision: digest},
    )


def _recalibrated(outputs: Outputs, temperature: float) -> Outputs:
    return replace(outputs, probabilities=_probabilities(outputs, temperature))


def _probabilities(outputs: Outputs, temperature: float) -> NDArray[np.float32]:
    values: NDArray[np.float32] = softmax(outputs.logits.astype(np.float64) / temperature, axis=1).astype(np.float32)
    return values
