"""Measures cases in interleaved rounds, one process at a time."""

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
from ctonnx.parity.outputs import Outputs
from ctonnx.system.text import Log
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.cases.task import Task
from ctonnx_bench.measurement.interleaving import interleaved
from ctonnx_bench.measurement.processes import ProcessFailed, launch
from ctonnx_bench.measurement.sensors import Gpu

__all__ = ["Bench", "CaseFailed", "Round", "Timed"]

_LIMIT_S = 900.0  # of a process, without its images and timed runs: compiling and quantizing take minutes
_IMAGE_S = 5.0
_KINDS = {"ModelError": ModelError, "ProviderError": ProviderError}


class CaseFailed(Exception):
    """A peer's process failed."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """Measurements of one process.

    Attributes:
        samples_s: Seconds of each timed run.
        warm_up_s: Seconds of each run before them.
        cold_start_s: Seconds from the start of the process to its first output.
        open_s: Seconds of opening the network.
        first_run_s: Seconds of the first run.
        largest_dp: Largest difference of a probability between all timed outputs and the judged outputs.
        largest_dlogit: The same for logits, relative to the largest logit.
        largest_dheatmap: The same for each image's last heatmap, relative to the largest value.
        peak_bytes: Peak resident memory.
        device_bytes: Increase of the GPU's used memory.
        joules: Energy of the timed runs, by the sensor's name.
        slowdowns: Causes that slowed the machine down during the timed runs.
        others_share: Share of the cores' time that other programs used during the timed runs, 0 to 1.
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
    """Result of all rounds: the rounds of each case, and the reasons for failed peers and failed cases of ctonnx.

    Rounds before the failure of a case of ctonnx are kept, those of failed peers are not.
    """

    found: dict[Case, list[Round]]
    skipped: dict[str, str]
    broken: dict[Case, str]


class Bench:
    """Runs the processes of a benchmark on images.

    Args:
        folder: Folder for their files, used by this benchmark only.
        images: Images to predict.
        preprocessing: Fields of `Preprocessing`, for timing from files.
        window: Fields of `DicomWindow`, for DICOM files.
    """

    def __init__(
        self, folder: Path, images: CheckImages, preprocessing: Mapping[str, Any], window: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self._images, self._preprocessing, self._window = images, preprocessing, window
        self._pixels = folder / "pixels.npy"
        np.save(self._pixels, images.pixels)
        self._numbers: dict[str, int] = {}

    def outputs(self, case: Case, others: CheckImages | None = None) -> Outputs:
        """Returns a case's outputs for all images, or for others, computed in a process that is not timed.

        Timed outputs are not compared with those for other images.

        Raises:
            CaseFailed: If a peer fails.
            CtonnxError: If ctonnx fails.
        """
        if others is None:
            file = self._outputs_file(case)
            self._run(case, seconds=None)
        else:
            file, pixels = self.folder / "outputs-others.npz", self.folder / "others.npy"
            np.save(pixels, others.pixels)
            self._launch(case.task(pixels=pixels, outputs=file, seconds=None), case)
        with np.load(file) as arrays:
            return Outputs.read({name: arrays[name] for name in arrays.files})

    def round(self, case: Case, seconds: float) -> Round:
        """Times a case in a new process; `outputs` must have been called for the case.

        Raises:
            CaseFailed: If a peer fails.
            CtonnxError: If ctonnx fails.
        """
        report = self._run(case, seconds=seconds)
        start, first_output = report.pop("start"), report.pop("first_output_at")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in report.items()
        }
        return Round(cold_start_s=first_output - start, **values)

    def prepare(self, case: Case) -> Case:
        """Makes an adapter's own model, and returns the case with it.

        Raises:
            CaseFailed: If the adapter fails.
        """
        images = self._images
        pixels = self.folder / "calibration.npy"
        np.save(pixels, images.pixels if images.calibration is None else images.calibration)
        task = case.task(pixels=pixels, outputs=Path(), seconds=None)
        report = self._launch(replace(task, prepare=str(self.folder)), case)
        model = Path(report["model"])
        size = sum(file.stat().st_size for file in model.parent.glob(f"{model.stem}.*"))
        return case.of(replace(case.contender, model=model, size=size))

    def measure(self, cases: Sequence[Case], *, rounds: int, seconds: float, log: Log) -> Timed:
        """Times every case whose `outputs` are computed in every round; if a case fails, the others continue.

        Each process is logged, from the second round on with the remaining time.
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
        task = case.task(pixels=self._pixels, outputs=self._outputs_file(case), seconds=seconds)
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

    def _outputs_file(self, case: Case) -> Path:
        return self.folder / f"outputs-{self._numbers.setdefault(case.name, len(self._numbers))}.npz"


def _left(seconds: float) -> str:
    return f", about {math.ceil(seconds / 60)} min left" if seconds > 60 else ", at most a minute left"
