"""Simplification with onnxsim in a separate process, with a check of its result."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.parity.comparison import compare
from ctonnx_export.graph.conversion import strip
from ctonnx_export.graph.execution import run_onnx

__all__ = ["Simplified", "simplify"]

_SIMPLIFY_SECONDS = 300
_MAX_SIMPLIFIED_DP = 1e-5


@dataclass(frozen=True)
class Simplified:
    """Simplified model with the note `simplified`, or the original one with the reason."""

    model: onnx.ModelProto
    note: str


def simplify(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> Simplified:
    """Simplifies a model with onnxsim in a separate process, as a crash must not end this one.

    The result is used only if the checker accepts it and its outputs for the pixels, uint8 [images, size, size, 3], are
    those of the original.
    """
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        program = (
            # onnxsim imports PyTorch, if there is one, for a bridge to another tool: 2 s for nothing.
            "import sys; sys.modules['torch'] = None; "
            "import onnx, onnxsim; model, same = onnxsim.simplify(sys.argv[1]); "
            "onnx.save(model, sys.argv[2]); sys.exit(not same)"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", program, str(before), str(after)],
                capture_output=True,
                text=True,
                timeout=_SIMPLIFY_SECONDS,
                env={**os.environ, "TMPDIR": folder},  # removes the files of an interrupted run, too
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Simplified(model, f"not simplified: onnxsim took more than {_SIMPLIFY_SECONDS} s")
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Simplified(model, f"not simplified: onnxsim ended with exit code {done.returncode} ({last})")
        simplified = onnx.load(after)
    strip(simplified)
    if problem := _problem(model, simplified, pixels):
        return Simplified(model, f"not simplified: {problem}")
    return Simplified(simplified, "simplified")


def _problem(before: onnx.ModelProto, after: onnx.ModelProto, pixels: NDArray[np.uint8]) -> str | None:
    """Returns a description of the error in the simplified model, or None."""
    if list(before.graph.input) != list(after.graph.input) or list(before.graph.output) != list(after.graph.output):
        return "onnxsim changed the inputs or outputs"
    try:
        onnx.checker.check_model(after, full_check=True)
        parity = compare(run_onnx(before, [pixels]), run_onnx(after, [pixels]))
    # The checker and onnxruntime have no common error class; after any error, the original model is used.
    except Exception as error:
        return f"onnxsim's result does not run ({error})"
    if not parity.max_dp <= _MAX_SIMPLIFIED_DP:
        return f"onnxsim's result differs by {parity.max_dp:.3g}"
    return None
