"""Predicts files with a pool of actors of Ray Data: names to batches to rows to parts, with what went wrong counted."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ctonnx.errors import CtonnxError
from ctonnx.system.files import sha256_of
from ctonnx_scale.actor import ActorModel, PredictorActor, PredictorSettings
from ctonnx_scale.cluster import ActorResources
from ctonnx_scale.journal import Journal, Report
from ctonnx_scale.parts import Parts
from ctonnx_scale.rows import unpacked

__all__ = ["EngineResult", "predict_on_cluster"]

_FEWEST, _MOST = 16, 256  # files of a batch, which is repeated if its actor ends
_BATCHES_OF_AN_ACTOR = 8  # at least, if there are enough files: the last ones end at about the same time
_TASKS_OF_AN_ACTOR = 2  # the next batch waits at the actor while one is predicted


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """Numbers of a run.

    Attributes:
        predicted: Number of predicted images.
        decisions: Number of images by decision.
        failed: Number of failures.
        ended: Number of processes that ended and were replaced.
        report: What the journal of the run noted.
        start: Seconds until the first batch began.
        seconds: Seconds from then to the end.
    """

    predicted: int
    decisions: Counter[str]
    failed: int
    ended: int
    report: Report
    start: float
    seconds: float


class _Calls:
    """Calls the methods of the journal, an actor of Ray, from other actors."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        return ray.get(getattr(self._journal, method).remote(*arguments, **options))


class _Content:
    """Fetches the bytes of the model file from the cluster."""

    def __init__(self, content: bytes) -> None:
        self._reference = ray.put(content)

    def __call__(self) -> bytes:
        content: bytes = ray.get(self._reference)
        return content


def predict_on_cluster(
    model: Path,
    names: pa.Array,
    parts: Parts,
    settings: PredictorSettings,
    resources: ActorResources,
    *,
    signed: bytes | None = None,
    actors: int,
    progress: Callable[[int], None] = lambda files: None,
) -> EngineResult:
    """Predicts files with the actors of the connected cluster, and writes their rows.

    Args:
        model: Model file.
        names: File names as of `ctonnx_scale.names.names_of`.
        parts: Folder of the rows.
        settings: Settings of the model in each actor.
        resources: CPUs and GPUs of each actor.
        signed: Bytes of the model whose signature is valid, which the actors then open; None lets them open the file.
        actors: Number of actors.
        progress: Called with the number of finished files.

    Raises:
        CtonnxError: If the run cannot go on: the model does not open on a node, or the cluster is gone.
        OSError: If a part cannot be written.
    """
    start = time.monotonic()
    journal = (
        ray.remote(Journal)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True),
        )
        .remote()
    )
    calls = _Calls(journal)
    content = model.read_bytes() if signed is None else signed
    actor_model = ActorModel(
        path=str(model.absolute()), sha256=sha256_of(content), content=_Content(content), is_signed=signed is not None
    )
    predicted, failed, decisions = 0, 0, Counter[str]()
    with _explained():
        results = ray.data.from_arrow(_batches(names, actors)).map_batches(
            PredictorActor,
            fn_constructor_args=(actor_model, settings, calls),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=_TASKS_OF_AN_ACTOR),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus or None,
        )
        with parts.writer() as writer:
            for block in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in pa.Table.to_pylist(block):
                    table = unpacked(row["rows"])
                    writer.add(table)
                    failures = table.num_rows - table["error"].null_count
                    failed += failures
                    predicted += table.num_rows - failures
                    for count in pc.value_counts(table["decision"].drop_null()).to_pylist():
                        decisions[count["values"]] += count["counts"]
                    progress(row["files"])
        report: Report = calls("report")
    end, began = time.monotonic(), report.began or start
    return EngineResult(
        predicted=predicted,
        decisions=decisions,
        failed=failed,
        ended=max(0, report.actors - actors),
        report=report,
        start=began - start,
        seconds=end - began,
    )


def _batches(names: pa.Array, actors: int) -> list[pa.Table]:
    """Returns the tables of `PredictorActor`: a few hundred names each, so that names alone travel."""
    size = min(_MOST, max(_FEWEST, -(-len(names) // (actors * _BATCHES_OF_AN_ACTOR))))
    return [
        pa.table({"batch": pa.array([start // size] * len(some), pa.int32()), "name": some})
        for start in range(0, len(names), size)
        for some in [names.slice(start, size)]
    ]


@contextmanager
def _explained() -> Iterator[None]:
    """Turns an error of Ray into the one that an actor raised, or into one sentence."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.max_consecutive_actor_init_deaths = 8  # nodes that come and go
    try:
        yield
    except RayError as error:
        cause: BaseException = error
        while isinstance(inner := getattr(cause, "cause", None) or cause.__cause__, Exception):
            if isinstance(inner, CtonnxError):
                raise inner from error
            cause = inner
        last = [line for line in str(cause).splitlines() if line.strip()]
        raise CtonnxError(
            f"expected the cluster to finish, found {type(cause).__name__}: {last[-1].strip() if last else ''}; the "
            "rows so far are kept: run the command again with --resume"
        ) from error
