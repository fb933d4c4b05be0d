"""Three trainings are measured, a run is left for the later steps, and a wrong resume is found."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.conftest import empty_plots
from tests.thin.sitecustomize import thin_resnet50

from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.gpu.steps import training
from ctonnx_bench.gpu.steps.training import images_that_fit, measure_resume, run
from ctonnx_train.training.resume import load_state

pytestmark = pytest.mark.usefixtures("trained_run")  # with it, the network is thin


@pytest.fixture(autouse=True)
def thin_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the network of the plain loop thin, too."""
    monkeypatch.setattr("torchvision.models.resnet50", thin_resnet50)


@pytest.fixture(autouse=True)
def no_plots() -> Iterator[None]:
    """Leaves the plots of the trainings empty: they take 40 % of the time, and only their numbers are looked at."""
    with empty_plots():
        yield


def test_speeds_and_a_run_and_its_resume_are_recorded(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.compile", lambda network, **options: network)
    context = make_context()
    run(context)
    rows = context.recorded.tables["Speed"]
    assert [row["training"] for row in rows] == ["ctonnx", "plain torchvision loop", "ctonnx, --compile"]
    assert all(row["images_per_s"] > 0 and 0 <= row["data_share"] < 1 and row["gpu_mb"] is None for row in rows)
    assert Run(context.work / "runs" / RUN).has_checkpoint
    assert context.recorded.failures == []
    run(context)  # in the folder of an earlier kit
    assert context.recorded.failures == []


def test_resumed_training_ends_at_the_same_weights(make_context: Callable[..., Context]) -> None:
    assert measure_resume(make_context()) == 0


def test_resume_that_loses_the_optimizers_state_is_found(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_moments(folder: Run) -> dict[str, Any] | None:
        state = load_state(folder)
        assert state is not None
        for optimizer in state["optimizer_states"]:
            for moments in optimizer["state"].values():
                moments["exp_avg_sq"].mul_(100)
        torch.save(state, folder.last_file)
        return state

    monkeypatch.setattr(training, "load_state", without_moments)
    assert measure_resume(make_context()) > 0.1


def test_compiling_is_left_out_without_time(
    make_context: Callable[..., Context], tiny: KitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[bool] = []

    def measure(*arguments: Any) -> dict[str, float]:
        measured.append(arguments[-1].compile)
        return {"images_per_second": 1e3, "data_share": 0.0}

    monkeypatch.setattr(training, "measure_last_epoch", measure)
    monkeypatch.setattr(
        training, "measure_plain", lambda *given, **options: {"images_per_second": 1e3, "data_share": 0.0}
    )
    monkeypatch.setattr(training, "_train_on_phantoms", lambda context: None)
    monkeypatch.setattr(training, "measure_resume", lambda context: 0.5)
    context = make_context(replace(tiny, compiles=True), seconds=30.0)
    run(context)
    assert measured == [False]
    assert [text.partition(", about")[0] for text in context.recorded.left_out] == ["ctonnx, --compile: left out"]
    assert context.recorded.failures == [
        "expected a resumed training to end at the same weights, found 0.5 of the way apart"
    ]


def test_error_in_the_plain_loop_is_a_note_and_one_in_ctonnx_a_failure(
    make_context: Callable[..., Context], tiny: KitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def measure(*arguments: Any) -> dict[str, float]:
        counts.append(len(arguments[0]))
        if arguments[-1].compile:
            raise RuntimeError("no compiler\nat all")
        return {"images_per_second": 1e3, "data_share": 0.0}

    def broken(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(training, "measure_last_epoch", measure)
    monkeypatch.setattr(training, "measure_plain", broken)
    monkeypatch.setattr(training, "measure_resume", broken)
    monkeypatch.setattr(training, "_train_on_phantoms", lambda context: None)
    context = make_context(replace(tiny, random_images=100))
    run(context)
    recorded = context.recorded
    assert counts == [64, 100, 100]  # the first one for an estimate of the rate
    assert [row["training"] for row in recorded.tables["Speed"]] == ["ctonnx"]
    assert recorded.failures == ["resume: ZeroDivisionError: -", "ctonnx, --compile: RuntimeError: no compiler"]
    assert recorded.notes[-1] == "plain torchvision loop: ZeroDivisionError: -"


def test_training_needs_the_gpu_that_it_measures(
    make_context: Callable[..., Context], tiny: KitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    context = make_context(replace(tiny, needs_gpu=True))
    with pytest.raises(CtonnxError, match="expected a GPU that PyTorch can use, found none"):
        run(context)
    assert not (context.work / "phantoms").exists()


@pytest.mark.parametrize(
    ("rate", "seconds", "expected"), [(1000.0, 60.0, 20_000), (100.0, 60.0, 2944), (1.0, 1.0, 256)]
)
def test_slow_gpu_gets_fewer_images(rate: float, seconds: float, expected: int) -> None:
    assert images_that_fit(20_000, rate, seconds, 128) == expected
