"""Measures cases: each process alone on the machine, in rounds that go forwards and backwards in turn."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctonnx.errors import CtonnxError, ModelError, ProviderError
from ctonnx.inference.providers import ON_CPU
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx.system.text import Log
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.cases.task import Task
from ctonnx_bench.measurement.interleaving import interleaved
from ctonnx_bench.measurement.processes import ProcessFailed, launch
from ctonnx_bench.measurement.sensors import Gpu

__all__ = ["Bench", "CaseFailed", "Round", "Timed"]

_LIMIT_S = 900.0  # of a process, beside its images and what it times: compiling and quantizing take minutes
_IMAGE_S = 5.0
_KINDS = {"ModelError": ModelError, "ProviderError": ProviderError}


class CaseFailed(Exception):
    """A peer's process could not do what it was to do."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one process measured.

    Attributes:
        samples_s: Seconds of each run.
        warm_up_s: of the runs before, which do not count.
        cold_start_s: from the process's start to its first answer.
        open_s: of opening the network.
        first_run_s: of the first run.
        largest_dp: Largest difference of a probability, of all timed answers, to the answers that were judged.
        largest_dlogit: that of a logit, relative to the largest one.
        largest_dheatmap: that of each image's last heatmap, relative to the largest value.
        peak_bytes: Greatest resident memory.
        device_bytes: of the GPU's memory, that were in use more than before.
        joules: Counted while it was timed, by the sensor's name.
        slowdowns: what slowed the machine down meanwhile.
        others_share: of its cores' time, that other programs took meanwhile, 0 to 1.
    """

    samples_s: tuple[float, ...]
    warm_up_s: tuple[float, ...]
    cold_start_s: float
    open_s: float
    first_run_s: float
    largest_dp: float
    largest_dlogit: float
    largest_dheatmap: float
    peak_bytes: int | None
    device_bytes: int | None
    joules: Mapping[str, float]
    slowdowns: tuple[str, ...]
    others_share: float


class Timed(NamedTuple):
    """What became of the cases in all rounds.

    Attributes:
        found: of each case its rounds; none of a peer that failed, and for ctonnx's those before it failed.
        skipped: The peers that failed, and why.
        broken: ctonnx's cases that failed, and why.
    """

    found: dict[Case, list[Round]]
    skipped: dict[str, str]
    broken: dict[Case, str]


class Bench:
    """Where the processes run, and what they are asked.

    Args:
        folder: for what they hand over; of this benchmark alone.
        images: what they are asked.
        preprocessing: how files become pixels, where files are timed: `Preprocessing`'s fields.
        window: for DICOM files: `DicomWindow`'s fields.
    """

    def __init__(
        self, folder: Path, images: CheckImages, preprocessing: Mapping[str, Any], window: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self._images, self._preprocessing, self._window = images, preprocessing, window
        self._pixels = folder / "pixels.npy"
        np.save(self._pixels, images.pixels)
        self._numbers: dict[str, int] = {}

    def answers(self, case: Case, others: CheckImages | None = None) -> Outputs:
        """Returns the answers for all images, in a process that does not count.

        Args:
            case: who answers.
            others: Images to ask instead; what is timed later is not held against these answers.

        Raises:
            CaseFailed: A peer cannot do it.
            CtonnxError: ctonnx cannot.
        """
        if others is None:
            file = self._answers(case)
            self._run(case, seconds=None)
        else:
            file, pixels = self.folder / "answers-others.npz", self.folder / "others.npy"
            np.save(pixels, others.pixels)
            self._launch(case.task(pixels=pixels, answers=file, seconds=None), case)
        with np.load(file) as arrays:
            return Outputs(*(arrays[name] for name in OUTPUT_NAMES))

    def round(self, case: Case, seconds: float) -> Round:
        """Times a case in a process of its own, after `answers` has answered for it.

        Raises:
            CaseFailed: A peer cannot do it.
            CtonnxError: ctonnx cannot.
        """
        report = self._run(case, seconds=seconds)
        start, answered = report.pop("start"), report.pop("answered_at")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in report.items()
        }
        return Round(cold_start_s=answered - start, **values)

    def prepare(self, case: Case) -> Case:
        """Lets an adapter make its own model, and returns the case with it.

        Raises:
            CaseFailed: it cannot.
        """
        images = self._images
        pixels = self.folder / "calibration.npy"
        np.save(pixels, images.pixels if images.calibration is None else images.calibration)
        task = case.task(pixels=pixels, answers=Path(), seconds=None)
        report = self._launch(replace(task, prepare=str(self.folder)), case)
        model = Path(report["model"])
        size = sum(file.stat().st_size for file in model.parent.glob(f"{model.stem}.*"))
        return case.of(replace(case.contender, model=model, size=size))

    def measure(self, cases: Sequence[Case], *, rounds: int, seconds: float, log: Log) -> Timed:
        """Times every case in every round, in turn; where one fails, the others go on.

        Args:
            cases: that have answered before.
            rounds: Processes of each.
            seconds: that each times.
            log: Is told before each process, from the second round on with the time that is left.
        """
        found: dict[Case, list[Round]] = {case: [] for case in cases}
        failed: dict[str, str] = {}
        broken: dict[Case, str] = {}
        total, start = len(cases) * rounds, time.monotonic()
        for number, case in enumerate(interleaved(cases, rounds), 1):
            if case.contender.title in failed or case in broken:
                continue
            done = number - 1
            left = _left((time.monotonic() - start) / done * (total - done)) if done >= len(cases) else ""
            log(f"[{number}/{total}{left}] {case.title}, batch {case.batch_size}")
            try:
                found[case].append(self.round(case, seconds))
            except CaseFailed as error:
                failed[case.contender.title] = f"it failed: {error}"
            except CtonnxError as error:
                broken[case] = str(error)
                log(f"FAILED: {error}")
        return Timed(
            {case: own for case, own in found.items() if own and case.contender.title not in failed}, failed, broken
        )

    def _run(self, case: Case, *, seconds: float | None) -> dict[str, Any]:
        task = case.task(pixels=self._pixels, answers=self._answers(case), seconds=seconds)
        if case.provider not in ON_CPU:
            task = replace(task, used_bytes=Gpu.here().used_bytes)
        if self._images.files:
            task = replace(task, files=self._images.files, preprocessing=self._preprocessing, window=self._window)
        return self._launch(task, case)

    def _launch(self, task: Task, case: Case) -> dict[str, Any]:
        settings = self.folder / "task.json"
        settings.write_text(task.to_json(), encoding="utf-8")
        try:
            command = [sys.executable, "-P", "-m", "ctonnx_bench.measurement.worker", str(settings)]
            limit = _LIMIT_S + 10 * (task.seconds or 0.0) + _IMAGE_S * len(self._images)
            done = launch(command, self.folder, limit)
        except ProcessFailed as error:
            last = error.message.strip().splitlines()[-1]
            if case.contender.own:
                raise CtonnxError(f"expected {case.name} to run, found that its process failed: {last}") from error
            raise CaseFailed(last) from error
        report: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        if "error" in report:
            if case.contender.own:
                raise _KINDS.get(report["kind"], CtonnxError)(report["error"])
            raise CaseFailed(report["error"])
        return {**report, "start": done.start}

    def _answers(self, case: Case) -> Path:
        return self.folder / f"answers-{self._numbers.setdefault(case.name, len(self._numbers))}.npz"


def _left(seconds: float) -> str:
    return f", about {math.ceil(seconds / 60)} min left" if seconds > 60 else ", a minute left at most"
