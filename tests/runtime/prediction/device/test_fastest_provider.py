"""`--provider auto`: the fastest of the providers that pass the verification, measured once for a model and device."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.errors import CheckFailed, ModelError, ProviderError
from ctonnx.inference.session import open_session
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction.device import fastest_provider as module
from ctonnx.prediction.device.fastest_provider import Choice, choice_file, fastest_provider
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.predictor import Predictor

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Returns a function that installs providers with their seconds for an image; all compute on the CPU."""

    def start(path: Path, *, provider: str, **options: Any) -> Any:
        if provider == "cuda":
            raise ProviderError("this machine has no NVIDIA GPU")
        return open_session(path, **options)

    def install(**seconds: float) -> None:
        monkeypatch.setattr(module, "_is_installed", lambda provider: provider in seconds)
        monkeypatch.setattr(predictor_module, "open_session", start)
        monkeypatch.setattr(module, "_seconds", lambda predictor, count: count * seconds[predictor.provider])

    return install


def measured(choice: Choice) -> dict[str, float | None]:
    return {one.provider: one.images_per_s for one in choice.candidates}


def test_fastest_is_measured_once_and_kept_next_to_the_model(
    export: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(cpu=0.02, openvino=0.01)
    lines: list[str] = []
    choice = fastest_provider(export, log=lines.append)
    assert (choice.provider, choice.model, choice.is_kept) == ("openvino", export / "model.fp32.onnx", False)
    assert measured(choice) == pytest.approx({"cpu": 50.0, "openvino": 100.0})
    assert choice.summary == "openvino (measured now, images/s: openvino 100.0, cpu 50.0)"
    assert lines == ["comparing cpu, openvino once for this model and device"]
    assert choice_file(export) == export / "fastest.json"

    def fail(*arguments: Any) -> float:
        raise AssertionError

    monkeypatch.setattr(module, "_seconds", fail)
    monkeypatch.setattr(module, "verify", fail)
    assert fastest_provider(export, log=fail) == replace(choice, is_kept=True)
    assert fastest_provider(export).summary.startswith("openvino (measured before, images/s: ")


def test_choice_of_a_named_file_is_its_own(export: Path, install: Install) -> None:
    install(cpu=0.01, openvino=0.02)
    model = export / "model.fp32.onnx"
    assert fastest_provider(model).provider == "cpu"
    assert choice_file(model) == export / "model.fp32.fastest.json"
    assert choice_file(model).is_file()


def test_provider_that_fails_the_verification_is_never_chosen(
    export: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(cpu=0.02, openvino=0.001)

    def checked(model: Path, **options: Any) -> Any:
        found = verify(model, **options)
        return replace(found, failures=("max |dp| is 0.3",)) if options["provider"] == "openvino" else found

    monkeypatch.setattr(module, "verify", checked)
    for is_kept in (False, True):
        choice = fastest_provider(export)
        assert (choice.provider, choice.is_kept) == ("cpu", is_kept)
        assert measured(choice) == pytest.approx({"cpu": 50.0, "openvino": None})
        assert choice.summary.endswith("images/s: cpu 50.0; without openvino: max |dp| is 0.3)")


def test_provider_that_does_not_run_here_is_left_out_with_its_reason(export: Path, install: Install) -> None:
    install(cpu=0.02, cuda=0.001)
    choice = fastest_provider(export)
    assert choice.provider == "cpu"
    assert choice.summary.endswith("without cuda: this machine has no NVIDIA GPU)")


def test_provider_without_a_model_that_suits_it_is_left_out(
    export: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(cpu=0.02, openvino=0.001)
    real = find_model

    def find(model: Path | None, *, provider: Any) -> Path:
        if provider == "openvino":
            raise ModelError("expected a model for openvino, found none")
        return real(model, provider=provider)

    monkeypatch.setattr(module, "find_model", find)
    choice = fastest_provider(export)
    assert choice.summary == "cpu (without openvino: expected a model for openvino, found none)"


@pytest.mark.parametrize("change", ["model", "threads", "packages", "processor", "damaged", "another schema"])
def test_it_is_measured_again_after_a_change(
    export: Path, install: Install, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    install(cpu=0.02, openvino=0.01)
    assert not fastest_provider(export, threads=1).is_kept
    assert fastest_provider(export, threads=1).is_kept
    file, threads = choice_file(export), 1
    match change:
        case "model":
            monkeypatch.setattr(module, "sha256_of", lambda path: "0" * 64)
        case "threads":
            threads = 2
        case "packages":
            monkeypatch.setattr(module, "installed_builds", lambda: {"onnxruntime": "9.9"})
        case "processor":
            file.write_text(json.dumps({**json.loads(file.read_text()), "processor": "Another CPU"}))
        case "damaged":
            file.write_text(file.read_text()[:100])
        case _:
            file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 99}))
    assert not fastest_provider(export, threads=threads).is_kept
    assert fastest_provider(export, threads=threads).is_kept


def test_with_the_cpu_alone_nothing_is_measured(export: Path) -> None:
    choice = fastest_provider(None)
    assert (choice.provider, choice.model.resolve()) == ("cpu", (export / "model.fp32.onnx").resolve())
    assert choice.summary == "cpu (the only provider that is installed)"
    assert not choice_file(export).exists()


def test_without_golden_inputs_the_cpu_is_chosen(export: Path, install: Install) -> None:
    install(cpu=0.02, openvino=0.001)
    (export / FILE_NAME).unlink()
    choice = fastest_provider(export)
    assert choice.provider == "cpu"
    assert "without openvino: expected the model's golden inputs at" in choice.summary


def test_no_provider_that_passes_is_an_error(export: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(cpu=0.02, openvino=0.001)
    monkeypatch.setattr(
        module, "verify", lambda model, **options: replace(verify(model), failures=("max |dp| is 0.3",))
    )
    with pytest.raises(CheckFailed, match=r"found none \(cpu: max \|dp\| is 0.3; openvino: max"):
        fastest_provider(export)
    assert not choice_file(export).exists()


def test_folder_that_cannot_be_written_is_no_error(
    export: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(cpu=0.02, openvino=0.01)

    def fail(*arguments: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(module, "write_text", fail)
    assert fastest_provider(export).provider == "openvino"


def test_throughput_is_measured_with_images(export: Path) -> None:
    with Predictor(export / "model.fp32.onnx") as predictor:
        assert module._count(predictor) >= 16
        assert module._seconds(predictor, 8) > 0
