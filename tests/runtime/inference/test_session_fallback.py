"""A predictor runs on the requested provider, or on the CPU if that is allowed, and reports it."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from ctonnx.cli.main import main
from ctonnx.errors import ProviderError
from ctonnx.inference import diagnosis
from ctonnx.inference.providers import Provider
from ctonnx.inference.runner import Runner
from ctonnx.inference.session import open_session
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx.system.cpu import architecture

ERROR = (
    "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have (it has "
    "CPUExecutionProvider); the package onnxruntime-gpu has it: pip uninstall --yes onnxruntime, then "
    'pip install "ctonnx[gpu]"'
)


@pytest.fixture(autouse=True)
def cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates a build of onnxruntime for the CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.31.1"})
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: None)  # as on Windows


@pytest.fixture
def feigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens the sessions of all providers on the CPU."""
    monkeypatch.setattr(
        predictor_module, "open_session", lambda path, provider, **options: open_session(path, **options)
    )


@pytest.fixture
def scans(phantoms: Path) -> list[str]:
    return [str(path) for path in sorted((phantoms / "test").rglob("*.png"))]


def half(workspace: Path) -> Path:
    """Adds a model that CUDA prefers to the FP32 one, and returns its path."""
    folder = workspace / "runs/tiny/export"
    (folder / "model.fp16.onnx").write_bytes((folder / "model.fp32.onnx").read_bytes())
    return Path("runs/tiny/export/model.fp16.onnx")


# --- the requested provider ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("feigned")
def test_provider_that_runs_is_the_one_that_is_reported(workspace: Path) -> None:
    chosen = half(workspace)
    with Predictor(provider="cuda", fallback=True, workers=2) as predictor:
        assert (predictor.path, predictor.provider, predictor.refusal) == (chosen, "cuda", None)
        assert predictor.workers == 1


@pytest.mark.usefixtures("feigned")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino", "coreml", "directml"])
def test_predictions_are_the_same_with_every_api(provider: Provider, model: Path, scans: list[str]) -> None:
    with Predictor(model) as plain, Predictor(model, provider=provider) as other:
        for one, two in zip(plain.predict_many(scans), other.predict_many(scans, batch_size=3), strict=True):
            assert isinstance(one, Prediction)
            assert isinstance(two, Prediction)
            np.testing.assert_allclose(two.logits, one.logits, atol=1e-5)
            np.testing.assert_allclose(two.heatmap, one.heatmap, atol=1e-5)
        assert other.predict(scans[0]).label == plain.predict(scans[0]).label


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("cuda", "needs "),
        ("tensorrt", "needs "),
        ("openvino", "does not run here: its plugin "),
        ("webgpu", "does not run here: its plugin "),
    ],
)
def test_unavailable_provider_is_rejected(provider: Provider, words: str, model: Path) -> None:
    with pytest.raises(ProviderError, match=f"^the provider '{provider}' {words}"):
        Predictor(model, provider=provider)


# --- fallback to the CPU ---------------------------------------------------------------------------------------------


def test_fallback_uses_the_cpus_model_and_workers_and_reports_the_error(workspace: Path) -> None:
    half(workspace)
    with Predictor(provider="cuda", fallback=True, threads=2, workers=2) as predictor:
        assert predictor.path == Path("runs/tiny/export/model.fp32.onnx")
        assert (predictor.provider, predictor.workers, predictor.refusal) == ("cpu", 2, ERROR)
        copy = pickle.loads(pickle.dumps(predictor))  # noqa: S301  # it was pickled here
        assert (copy.path, copy.provider) == (predictor.path.absolute(), "cpu")
        assert copy.refusal == ERROR


def test_copy_falls_back_in_a_process_without_the_provider(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = half(workspace)
    with monkeypatch.context() as there:
        there.setattr(predictor_module, "open_session", lambda path, provider, **options: open_session(path, **options))
        with Predictor(provider="cuda", fallback=True) as predictor:
            data = pickle.dumps(predictor)
    with pickle.loads(data) as copy:  # noqa: S301  # it was pickled here
        assert (copy.path.name, copy.provider, copy.refusal) == (chosen.name, "cpu", ERROR)


def test_cpus_model_is_used_if_a_run_has_none_for_the_provider(workspace: Path) -> None:
    export = workspace / "runs/tiny/export"
    loaded = onnx.load(export / "model.fp32.onnx")
    spec = json.loads(loaded.metadata_props[0].value)
    target = {"quantization": {"target": architecture()}, "precision": "int8"}
    loaded.metadata_props[0].value = json.dumps({**spec, **target})
    onnx.save(loaded, export / "model.int8.onnx")
    (export / "model.fp32.onnx").unlink()
    with Predictor(provider="cuda", fallback=True) as predictor:
        assert (predictor.path.name, predictor.provider) == ("model.int8.onnx", "cpu")
        assert predictor.refusal is not None
        assert predictor.refusal.startswith("expected a model for cuda in ")


def test_cpu_needs_no_fallback(model: Path) -> None:
    assert Predictor(model, fallback=True).refusal is None


class Missing(Runner):
    """Fails with a missing library only when it runs."""

    def __call__(self, images: Any) -> Any:
        if self._provider != "cpu":
            raise ProviderError("the provider 'cuda' does not run here: the cuDNN library was not found")
        return super().__call__(images)


@pytest.mark.usefixtures("feigned")
def test_library_that_is_missing_in_the_first_run_is_found_at_the_start(
    model: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_module, "Runner", Missing)
    with pytest.raises(ProviderError, match="the cuDNN library was not found"):
        Predictor(model, provider="cuda")
    with Predictor(model, provider="cuda", fallback=True) as predictor:
        assert predictor.refusal == "the provider 'cuda' does not run here: the cuDNN library was not found"
        assert predictor.predict(scans[0]).label in predictor.spec.classes


# --- the command -----------------------------------------------------------------------------------------------------


def predict(*words: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--format", "csv", *words], catch_exceptions=False)


def test_command_fails_if_the_provider_does_not_run(workspace: Path, scans: list[str]) -> None:
    result = predict("--provider", "cuda", scans[0])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {ERROR}\n"


def test_command_uses_the_cpu_if_allowed_and_reports_it(workspace: Path, scans: list[str]) -> None:
    result = predict("--provider", "cuda", "--fallback", scans[0])
    assert result.exit_code == 0
    time = re.compile(r"[\d-]{10}T[\d:]{8}")  # start of each of the two
    assert time.sub("", result.stdout) == time.sub("", predict(scans[0]).stdout)
    assert result.stderr.splitlines()[:2] == [
        f"note: using the CPU (--fallback): {ERROR}",
        "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, the newest run's)",
    ]
