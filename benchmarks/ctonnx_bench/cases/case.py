"""Cases of a benchmark: each contender at each batch size and, on a GPU, with each kind of data transfer."""

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
    """One row of the table, measured in separate processes; the options for its network are those of `Opening`.

    Attributes:
        contender: Measured network and its adapter.
        batch_size: Images per run.
        swept: Whether cases differ in threads, workers or spinning, so that the title includes them.
        side: Height and width of the network's input, in pixels.
        files: Whether files are timed instead of preprocessed pixels.
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
        """Title of its rows: contender and options."""
        resident = "IO binding" if self.contender.own else "device-resident"
        options = [] if self.provider in ON_CPU else [resident if self.bound else "host copies"]
        if self.swept:
            options += [f"threads {self.threads}"]
            options += [f"workers {self.workers}"] if self.workers > 1 else []
            options += [] if self.spinning else ["no spinning"]
        return ", ".join([self.contender.title, *options])

    @property
    def name(self) -> str:
        """Name that identifies the case in other reports."""
        images = f"{'files' if self.files else 'ready pixels'} at {self.side}"
        return f"{self.title} | batch {self.batch_size} | {self.provider} | {self.threads} threads | {images}"

    def task(self, *, pixels: Path, outputs: Path, seconds: float | None) -> Task:
        """Returns the task of its process."""
        return Task(
            adapter=self.contender.adapter,
            model=self.contender.model,
            provider=self.provider,
            threads=self.threads,
            bound=self.bound,
            spinning=self.spinning,
            workers=self.workers,
            batch_size=self.batch_size,
            pixels=str(pixels),
            outputs=str(outputs),
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
    """Returns all cases on ctonnx's provider, with and without IO binding on a GPU, except for files.

    Those of one batch size are adjacent, so that compared cases are measured close in time.
    """
    return [
        Case(contender, size, _provider_of(contender, provider), threads, bound)
        for size in batch_sizes
        for contender in contenders
        for bound in (
            (True, False) if provider == "cuda" and ADAPTERS[contender.adapter].resident and not files else (False,)
        )
    ]


def _provider_of(contender: Contender, provider: str) -> str:
    found = ADAPTERS[contender.adapter].peer_provider(provider)
    if found is None:
        raise ValueError(
            f"expected a contender that can be compared with ctonnx on {provider}, found {contender.title}"
        )
    return found
