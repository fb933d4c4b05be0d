"""`--sweep threads`: which threads, workers, batch size and spinning are best on this device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctonnx.tuning import Setting, Tuning, save_tuning
from ctonnx_bench.cases import Case
from ctonnx_bench.contenders import Contender

__all__ = ["best", "keep", "plan_sweep", "thread_counts"]

_MOST_WORKERS = 8  # as `ctonnx.predictor.workers_for`


def thread_counts(cores: int) -> list[int]:
    """Returns the powers of two below the number of cores, and the number itself.

    >>> thread_counts(6)
    [1, 2, 4, 6]
    """
    return [*(count for count in (2**power for power in range(cores.bit_length())) if count < cores), cores]


def plan_sweep(contenders: Sequence[Contender], batch_sizes: Sequence[int], *, provider: str, cores: int) -> list[Case]:
    """Returns the cases: one worker with every thread count, spinning or not, and on a CPU a worker for each thread.

    Args:
        contenders: ctonnx's models.
        batch_sizes: images for a worker at a time.
        provider: one of `ctonnx.providers.PROVIDERS`.
        cores: that may be used.
    """
    return [
        Case(contender, size * workers, provider, threads, spinning=spinning, workers=workers, swept=True)
        for contender in contenders
        for size in batch_sizes
        for threads in thread_counts(cores)
        for workers in ([1, threads] if provider == "cpu" and 1 < threads <= _MOST_WORKERS else [1])
        for spinning in ([True, False] if threads // workers > 1 else [True])
    ]


def best(cases: Sequence[Mapping[str, Any]]) -> Tuning | None:
    """Returns the best settings of one model: the lowest median for one image, and the most images a second.

    Args:
        cases: of the report's document, of one model.

    Returns:
        None where no right answer was measured for one image.
    """
    right = [case for case in cases if not case["failures"]]
    single = [case for case in right if case["batch_size"] == 1]
    if not single:
        return None
    return Tuning(
        one=_setting(min(single, key=lambda case: float(case["figures"]["latency_ms"]["p50"]))),
        many=_setting(max(right, key=lambda case: float(case["figures"]["images_per_s"]))),
    )


def keep(document: Mapping[str, Any]) -> dict[Path, Tuning]:
    """Writes each model's best settings beside it, and returns them by the file that was written."""
    found = {}
    for model in document["models"]:
        path = Path(model["file"])
        cases = [case for case in document["cases"] if Path(case["model"]) == path.resolve()]
        if tuning := best(cases):
            found[save_tuning(path, tuning, provider=document["settings"]["provider"])] = tuning
    return found


def _setting(case: Mapping[str, Any]) -> Setting:
    return Setting(
        threads=case["threads"],
        workers=case["workers"],
        batch_size=case["batch_size"] // case["workers"],
        spinning=case["spinning"],
        images_per_s=round(case["figures"]["images_per_s"], 2),
    )
