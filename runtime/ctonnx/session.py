"""Opens an ONNX file as an onnxruntime session on the provider that was asked for, and on no other."""

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import onnxruntime

from ctonnx.errors import ModelError, ProviderError
from ctonnx.machine import available_cores
from ctonnx.outputs import OUTPUT_NAMES
from ctonnx.spec import METADATA_KEY, ModelSpec

__all__ = ["Provider", "open_session", "read_spec"]

Provider: TypeAlias = Literal["cpu", "cuda"]

_PROVIDERS: dict[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MENDS = {
    "cpu": 'pip install "ctonnx[cpu]"',
    "cuda": 'on a machine with an NVIDIA GPU: pip uninstall onnxruntime, then pip install "ctonnx[gpu]"',
}
_ONLY_FATAL = 4  # onnxruntime's log level; what goes wrong comes back as an exception with a sentence of ours


def open_session(
    model: Path | bytes, *, provider: Provider = "cpu", threads: int | None = None, optimize: bool = True
) -> onnxruntime.InferenceSession:
    """Makes a session and checks that the provider it got is the one that was asked for.

    Args:
        model: path of an `.onnx` file, or its bytes.
        provider: `cpu` or `cuda`.
        threads: threads within one operator; None takes every core that this process may use.
        optimize: False skips the graph optimizations, for a session that only reads metadata.

    Raises:
        ModelError: the file is missing, damaged or not an ONNX model.
        ProviderError: the provider is not in this onnxruntime, or did not start.
        ValueError: `threads` is below 1.
    """
    if provider not in get_args(Provider):
        raise ProviderError(f"expected a provider of {', '.join(get_args(Provider))}, found {provider!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"expected at least 1 thread, found {threads}")
    wanted = _PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise ProviderError(
            f"the provider {provider!r} needs {wanted}, which the installed onnxruntime does not have "
            f"(it has {', '.join(available)}); {_MENDS[provider]}"
        )
    if provider == "cuda":
        with redirect_stdout(sys.stderr):  # where it prints what it misses
            onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = _ONLY_FATAL
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = _start(model, options, wanted)
    except ModelError as error:
        if provider == "cpu":
            raise
        _start(model, onnxruntime.SessionOptions(), _PROVIDERS["cpu"])  # raises where the file itself is at fault
        raise ProviderError(
            f"the provider {provider!r} did not start: {error.__cause__}; {_MENDS[provider]}"
        ) from error
    if wanted not in session.get_providers():
        raise ProviderError(
            f"the provider {provider!r} was asked for and did not start; onnxruntime would run on "
            f"{', '.join(session.get_providers())} instead; {_MENDS[provider]}"
        )
    return session


def read_spec(session: onnxruntime.InferenceSession, name: str) -> ModelSpec:
    """Returns the spec that the session's model carries.

    Raises:
        ModelError: the model carries none, or its inputs and outputs are not those of a ctonnx model.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"'{name}' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
            "make one with: ctonnx export RUN"
        )
    spec = ModelSpec.from_json(text)
    inputs = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]
    if inputs != ["pixels"] or outputs != list(OUTPUT_NAMES):
        raise ModelError(
            f"'{name}' carries a ctonnx spec, but maps {inputs} to {outputs}, where ['pixels'] to "
            f"{list(OUTPUT_NAMES)} was expected; export the model again"
        )
    size, classes = spec.preprocessing.size, len(spec.classes)
    shapes = [item.shape[1:] for item in (session.get_inputs()[0], session.get_outputs()[0])]
    if shapes != [[size, size, 3], [classes]]:
        raise ModelError(
            f"'{name}' carries the spec of {classes} classes at {size} pixels, but its graph's shapes are {shapes}; "
            "export the model again"
        )
    return spec


def _start(model: Path | bytes, options: onnxruntime.SessionOptions, provider: str) -> onnxruntime.InferenceSession:
    if isinstance(model, Path):
        if not model.is_file():
            raise ModelError(
                f"expected an .onnx file, found no file at '{model}'; see which there are: ls runs/*/export"
            )
        if model.stat().st_size == 0:
            raise ModelError(f"expected an .onnx file, found an empty file at '{model}'; export the model again")
    try:
        file = os.fspath(model) if isinstance(model, Path) else model
        # Without this onnxruntime answers a provider's failure by going on with the CPU.
        return onnxruntime.InferenceSession(file, options, [provider], enable_fallback=0)
    # onnxruntime's exceptions (InvalidProtobuf, InvalidGraph, Fail, ...) share no base class but Exception.
    except Exception as error:
        name = f"'{model}'" if isinstance(model, Path) else "the model"
        detail = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"{name} is not a whole ONNX model (onnxruntime says: {detail}); "
            "if it was copied or downloaded, do that again, else export it again"
        ) from error
