"""Driver, libraries, and a first computation on the device."""

from typing import cast

import onnxruntime

from ctonnx.inference.providers import Provider
from ctonnx.inference.self_test import check_provider
from ctonnx.system.nvidia import nvidia_driver
from ctonnx_bench.gpu.step import Context
from ctonnx_bench.measurement.environment import describe
from ctonnx_bench.measurement.sensors import Gpu

__all__ = ["run"]


def run(context: Context) -> None:
    """Records the machine, and computes a small model on the provider."""
    gpu, driver = Gpu.here(), nvidia_driver()
    environment = describe(gpu=gpu)
    for name in ("cpu", "cores_allowed", "memory_bytes", "system", "python", "gpu"):
        context.fact(name, environment[name])
    context.fact("driver", gpu.driver)
    context.fact("newest CUDA of the driver", None if driver is None else ".".join(map(str, driver.cuda)))
    context.fact("compute capability", None if driver is None else [one.compute for one in driver.gpus])
    context.fact("versions", environment["versions"])
    context.fact("onnxruntime was built for CUDA", str(getattr(onnxruntime, "cuda_version", "") or "") or None)
    context.fact("providers of onnxruntime", list(onnxruntime.get_available_providers()))
    provider = cast("Provider", context.settings.provider)
    check = check_provider(provider)
    context.fact(f"self-test on {provider}", check.state)
    context.fact("difference from NumPy", check.difference)
    if check.state != "works":
        context.fail(f"expected {provider} to compute a small model, found: {check.state}: {check.message}")
    _torch(context)


def _torch(context: Context) -> None:
    import torch

    context.fact("PyTorch was built for CUDA", torch.version.cuda)
    context.fact("cuDNN of PyTorch", _cudnn())
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        context.fact("free GPU memory_mb", round(free / 1e6))
        context.fact("GPU memory_mb", round(total / 1e6))
    elif context.settings.needs_gpu:
        context.fail(
            f"expected a GPU that PyTorch {torch.__version__} can use, found none; see what nvidia-smi shows, and "
            "install a build of PyTorch for CUDA"
        )


def _cudnn() -> int | None:
    import torch

    version: int | None = torch.backends.cudnn.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    return version
