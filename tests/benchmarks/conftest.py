"""Document of a benchmark with three contenders at two batch sizes, built without measuring anything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx_bench.analysis.speedup import times_as_fast
from ctonnx_bench.analysis.statistics import find_warnings, mlperf, summarize
from ctonnx_bench.cases.contenders import Contender
from ctonnx_bench.measurement.rounds import Round

MakeDocument = Callable[..., dict[str, Any]]
INT8 = Contender("ctonnx INT8", "ctonnx", Path("m.onnx"), "int8", 1)
QUIET = Round(
    samples_s=(0.010,) * 100,
    warm_up_s=(1.0,),
    cold_start_s=0.5,
    open_s=0.2,
    first_run_s=0.03,
    largest_dp=0.0,
    largest_dlogit=0.0,
    largest_dheatmap=0.0,
    peak_bytes=100,
    device_bytes=None,
    joules={},
    slowdowns=(),
    others_share=0.0,
)
"""Round of equal runs on a quiet machine."""


def _case(title: str, batch_size: int, milliseconds: float, *, precision: str, own: bool, size: int) -> dict[str, Any]:
    rounds = [
        replace(
            QUIET,
            samples_s=tuple(np.linspace(0.99, 1.01, 101) * milliseconds / 1e3),
            first_run_s=2 * milliseconds / 1e3,
            peak_bytes=150_000_000,
        )
    ] * 3
    measured = summarize(rounds, batch_size)
    return {
        "name": f"{title} | batch {batch_size} | cpu | 2 threads | ready pixels at 224",
        "title": title,
        "contender": title,
        "own": own,
        "precision": precision,
        "batch_size": batch_size,
        "provider": "cpu",
        "threads": 2,
        "bound": False,
        "spinning": True,
        "bytes": size,
        "figures": measured,
        "parity": {"images": 8, "agreement": 1.0, "max_dp": 0.02, "mean_dp": 0.004, "agreement_interval": (0.676, 1.0)},
        "gate": "agreement 99 % or more",
        "bounds": {"max_dp": 1.0, "min_agreement": 0.99, "max_drop": 0.005, "min_heatmap_correlation": 0.98},
        "accuracy": None,
        "times_as_fast": None,
        "failures": [],
        "not_shown": [],
        "verdict": "right",
        "doubts": find_warnings(rounds, measured, threads=2, cores=2),
        "rounds": [{"samples_s": list(item.samples_s), "cold_start_s": item.cold_start_s} for item in rounds],
    }


@pytest.fixture
def make_document() -> MakeDocument:
    """Function that builds the document; its argument is a factor on all times."""

    def make(slower: float = 1.0) -> dict[str, Any]:
        cases = [
            _case(title, batch, ms * slower * batch**0.9, precision=precision, own=own, size=size)
            for batch in (1, 8)
            for title, ms, precision, own, size in (
                ("ctonnx FP32", 36.0, "fp32", True, 98_400_000),
                ("ctonnx INT8", 13.0, "int8", True, 28_500_000),
                ("PyTorch <eager>", 60.0, "fp32", False, 98_700_000),
            )
        ]
        faster = times_as_fast([{**case, "contender": case["contender"].replace("<eager>", "eager")} for case in cases])
        cases = [{**case, "times_as_fast": faster[case["name"]]} for case in cases]
        return {
            "schema_version": 1,
            "tool": "ctonnx bench",
            "command": "ctonnx bench --peers pytorch",
            "created": "2026-11-25T10:00:00+00:00",
            "settings": {"provider": "cpu", "rounds": 3, "duration": 10.0, "files": None, "sweep": False},
            "environment": {
                "cpu": "Some CPU",
                "architecture": "x86_64",
                "features": ["avx2"],
                "cores_allowed": 2,
                "cores_of_the_host": 4,
                "gpu": None,
                "governor": "",
                "load_average": 0.1,
                "memory_bytes": 8_000_000_000,
                "cpu_limit": "max 100000",
                "system": "Linux",
                "python": "3.11.7",
                "versions": {"ctonnx": "0.4.0"},
            },
            "models": [
                {
                    "name": "lungs",
                    "file": "model.int8.onnx",
                    "precision": "int8",
                    "target": "x86",
                    "bytes": 28_500_000,
                    "image_size": 224,
                    "sha256": "ab" * 32,
                    "checkpoint_sha256": "cd" * 32,
                }
            ],
            "checked_on": {
                "images": 8,
                "about": "8 golden inputs",
                "reference": "PyTorch, as kept in golden.npz",
                "calibrated_on_them": False,
                "cautions": [],
                "reference_wrong": False,
            },
            "cases": cases,
            "mlperf": mlperf(cases),
            "skipped": {"OpenVINO": "openvino not installed; pip install openvino"},
            "broken": {},
            "passed": True,
        }

    return make


@pytest.fixture
def document(make_document: MakeDocument) -> dict[str, Any]:
    """The document with a factor of 1."""
    return make_document()


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the plots out of the page, in tests of something else: they take a second of each benchmark."""
    monkeypatch.setattr("ctonnx_bench.report.html._plots", lambda document: ())
