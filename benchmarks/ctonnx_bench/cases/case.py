"""What is measured of each contender: a case for each batch size and, on a GPU, for each way of its data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ctonnx.inference.providers import ON_CPU
from ctonnx_bench.cases.adapters.adapter import ADAPTERS
from ctonnx_bench.cases.contenders import Contender
from ctonnx_bench.cases.task import Task

__all__ = ["Case", "plan_cases"]


@dataclass(frozen=True)
class Case:
    """One row of the table, measured in processes of its own.

    Attributes:
        contender: who answers.
        batch_size: Images at a time.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        threads: Within an operator.
        bound: Whether inputs and outputs stay in the GPU's memory.
        spinning: Whether waiting threads go on looking for work.
        workers: Parts of a batch that are computed at a time, each with its share of the threads.
        swept: Whether it differs from others in threads, workers or spinning, which its title then says.
        side: Height and width of the network's input, in pixels.
        files: Whether files are timed, or pixels that are ready.
    """

    contender: Contender
    batch_size: int
    provider: str
    threads: int
    bound: bool = False
    spinning: bool = True
    workers: int = 1
    swept: bool = False
    side: int = 0
    files: bool = False

    @property
    def title(self) -> str:
        """Of its rows: who, and how."""
        ways = [] if self.provider in ON_CPU else [self._data]
        if self.swept:
            ways += (
                [f"threads {self.threads}", f"workers {self.workers}"]
                if self.workers > 1
                else [f"threads {self.threads}"]
            )
            ways += [] if self.spinning else ["no spinning"]
        return ", ".join([self.contender.title, *ways])

    @property
    def name(self) -> str:
        """By which it is known again in another report."""
        way = f"{'files' if self.files else 'ready pixels'} at {self.side}"
        return f"{self.title} | batch {self.batch_size} | {self.provider} | {self.threads} threads | {way}"

    @property
    def _data(self) -> str:
        resident = "IO binding" if self.contender.own else "device-resident"
        return resident if self.bound else "host copies"

    def task(self, *, pixels: Path, answers: Path, seconds: float | None) -> Task:
        """Returns what its process does."""
        return Task(
            adapter=self.contender.adapter,
            model=str(self.contender.model),
            provider=self.provider,
            threads=self.threads,
            bound=self.bound,
            spinning=self.spinning,
            workers=self.workers,
            batch_size=self.batch_size,
            pixels=str(pixels),
            answers=str(answers),
            seconds=seconds,
        )

    def of(self, contender: Contender) -> "Case":
        """Returns the same case of another contender."""
        return replace(self, contender=contender)


def plan_cases(
    contenders: Sequence[Contender],
    batch_sizes: Sequence[int],
    *,
    provider: str,
    threads: int,
    files: bool = False,
) -> list[Case]:
    """Returns all cases, those of one batch size beside each other, so that what is compared is near in time.

    Args:
        contenders: who is measured.
        batch_sizes: Images at a time.
        provider: of ctonnx, one of `ctonnx.inference.providers.PROVIDERS`.
        threads: Within an operator.
        files: Whether files are timed, whose pixels are always copied.
    """
    return [
        Case(contender, size, _place(contender, provider), threads, bound)
        for size in batch_sizes
        for contender in contenders
        for bound in ((True, False) if provider == "cuda" and _stays(contender) and not files else (False,))
    ]


def _place(contender: Contender, provider: str) -> str:
    place = ADAPTERS[contender.adapter].place(provider)
    if place is None:
        raise ValueError(f"expected who can be measured beside {provider}, found {contender.title}")
    return place


def _stays(contender: Contender) -> bool:
    return ADAPTERS[contender.adapter].resident
