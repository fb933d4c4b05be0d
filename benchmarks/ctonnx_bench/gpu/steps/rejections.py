"""Messages of what cannot run: a cuDNN that does not load, and a device without free memory."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.prediction.model_selection import find_model
from ctonnx_bench.gpu.step import RUN, Context

__all__ = ["Rejection", "run"]

# Each program prints the error of ctonnx. The loader of the system finds another file instead of cuDNN, as onnxruntime
# loads the installed CUDA first, but not the installed cuDNN.
_BROKEN_CUDNN = """
import sys
from pathlib import Path
import onnxruntime
from ctonnx.errors import CtonnxError
from ctonnx.prediction.predictor import Predictor
preload = onnxruntime.preload_dlls
onnxruntime.preload_dlls = lambda *arguments, **options: preload(cudnn=False)
try:
    with Predictor(Path(sys.argv[1]), provider="cuda"):
        print("it runs")
except CtonnxError as error:
    print(type(error).__name__, error, sep="|")
"""
_FULL_GPU = """
import sys
from pathlib import Path
import numpy as np
import torch
from ctonnx.errors import CtonnxError
from ctonnx.prediction.predictor import Predictor
free, _ = torch.cuda.mem_get_info()
kept = torch.empty(max(0, free - (700 << 20)), dtype=torch.uint8, device="cuda")  # the rest is for the session
try:
    with Predictor(Path(sys.argv[1]), provider="cuda") as predictor:
        side = predictor.spec.preprocessing.size
        predictor.predict_pixels(np.zeros((512, side, side, 3), np.uint8))
        print("it runs")
except CtonnxError as error:
    print(type(error).__name__, error, sep="|")
"""
_FULL_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from ctonnx.errors import CtonnxError
from ctonnx.prediction.predictor import Predictor
with Predictor(Path(sys.argv[1]), threads=1) as predictor:
    side = predictor.spec.preprocessing.size
    pixels = np.zeros((256, side, side, 3), np.uint8)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), resource.RLIM_INFINITY))
    try:
        predictor.predict_pixels(pixels)
        print("it runs")
    except CtonnxError as error:
        print(type(error).__name__, error, sep="|")
"""
_LIMIT_S = 45


@dataclass(frozen=True)
class Rejection:
    """A case that cannot run, with the class and the message of its error."""

    case: str
    error: str
    message: str


def run(context: Context) -> None:
    """Provokes each error, and checks its class and words of its message."""
    model = find_model(context.work / "runs" / RUN, provider=context.settings.provider)
    if context.settings.provider == "cuda":
        broken = context.work / "rejections" / "broken"
        broken.mkdir(exist_ok=True)
        (broken / "libcudnn.so.9").write_text("not a library", encoding="utf-8")
        _provoke(context, "cuDNN that does not load", _BROKEN_CUDNN, model, ("ProviderError",), "cuDNN", broken)
        _provoke(context, "no free GPU memory", _FULL_GPU, model, ("ProviderError", "NotEnoughMemory"), "memory")
        return
    _provoke(context, "no CUDA", _BROKEN_CUDNN, model, ("ProviderError",), "cuda")
    _provoke(context, "no free memory", _FULL_MEMORY, model, ("NotEnoughMemory",), "memory")


def _provoke(
    context: Context,
    case: str,
    program: str,
    model: Path,
    errors: Sequence[str],
    word: str,
    libraries: Path | None = None,
) -> None:
    """Runs a program, and records its error; a failure of the step unless it is one of `errors`, with `word`."""
    environ = dict(os.environ)
    if libraries is not None:
        environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libraries), environ.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(model)],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
        timeout=_LIMIT_S,
    )
    lines = [line for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    last = lines[-1] if lines else f"no output, exit code {done.returncode}"
    error, _, message = last.partition("|")
    context.row("Rejections", Rejection(case, error if message else "-", message or last))
    if error not in errors or word.lower() not in message.lower():
        context.fail(f"{case}: expected a {' or '.join(errors)} that names {word}, found: {last}")
