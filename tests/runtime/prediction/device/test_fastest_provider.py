"""`--provider auto`: the fastest of the providers that pass the verification, measured once for a model and device."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.prediction.device.installing import Machine

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.errors import CheckFailed, CtonnxError, ModelError, NotEnoughMemory, ProviderError, SignatureError
from ctonnx.prediction.device import candidates, kept_choice
from ctonnx.prediction.device import fastest_provider as module
from ctonnx.prediction.device.fastest_provider import Choice, fastest_provider
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.predictor import Predictor

if TYPE_CHECKING:
    from tests.runtime.artifacts.provenance.signed_models import KeyPair

FULL = ProviderError("the provider 'cuda' does not run here: its memory is full")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def measured(choice: Choice) -> dict[str, float | None]:
    return {one.provider: one.images_per_s for one in choice.candidates}


def kept(export: Path) -> list[Path]:
    return sorted(export.glob("*fastest.*.json"))


def test_fastest_is_measured_once_and_kept_next_to_the_model(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01)
    lines: list[str] = []
    choice = fastest_provider(export, log=lines.append)
    assert (choice.provider, choice.model, choice.kept_in) == ("openvino", export / "model.fp32.onnx", None)
    assert measured(choice) == pytest.approx({"cpu": 50.0, "openvino": 100.0})
    assert choice.summary == "openvino (measured now, images/s: openvino 100.0, cpu 50.0)"
    assert lines == [
        "comparing cpu, openvino for this model on this device",
        "verifying cpu",
        "verifying openvino",
        "measuring cpu",
        "measuring openvino",
        f"kept in {kept(export)[0]}",
    ]

    def fail(*arguments: Any, **options: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(module, "_seconds", fail)
    monkeypatch.setattr(module, "verify", fail)
    (file,) = kept(export)
    again = fastest_provider(export, log=fail)
    assert again == replace(choice, kept_in=file)
    assert again.summary == (
        f"openvino (measured before, images/s: openvino 100.0, cpu 50.0); remove {file} to measure again"
    )


def test_choice_of_a_named_file_is_its_own(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.01, openvino=0.02)
    assert fastest_provider(export / "model.fp32.onnx").provider == "cpu"
    assert [file.name.rpartition("fastest")[0] for file in kept(export)] == ["model.fp32."]


def test_provider_that_fails_the_verification_is_never_chosen(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cpu=0.02, openvino=0.001, webgpu=0.05)

    def checked(model: Path, **options: Any) -> Any:
        found = verify(model, **options)
        return replace(found, failures=("max |dp| is 0.3",)) if options["provider"] == "openvino" else found

    monkeypatch.setattr(module, "verify", checked)
    for is_kept in (False, True):
        choice = fastest_provider(export)
        assert (choice.provider, choice.kept_in is not None) == ("cpu", is_kept)
        assert measured(choice) == pytest.approx({"cpu": 50.0, "openvino": None, "webgpu": 20.0})
        assert "images/s: cpu 50.0, webgpu 20.0; without openvino: max |dp| is 0.3)" in choice.summary
    assert "openvino" not in machine.images


@pytest.mark.parametrize("error", [FULL, NotEnoughMemory("too little memory")])
@pytest.mark.parametrize("moment", ["start_errors", "batch_errors"])
def test_reason_that_may_pass_leaves_a_provider_out_for_one_start(
    export: Path, monkeypatch: pytest.MonkeyPatch, error: CtonnxError, moment: str
) -> None:
    machine = Machine(monkeypatch, cpu=0.02, cuda=0.001)
    faults = getattr(machine, moment)
    faults["cuda"] = error
    lines: list[str] = []
    choice = fastest_provider(export, log=lines.append)
    assert (choice.provider, choice.kept_in) == ("cpu", None)
    assert choice.summary.endswith(f"without cuda: {error})")
    assert lines[-1] == "not kept for the next start, as cuda may run then"
    assert not kept(export)
    faults.clear()
    assert fastest_provider(export).provider == "cuda"


def test_one_provider_that_passes_is_not_measured(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cpu=0.02, cuda=0.001)
    machine.start_errors["cuda"] = FULL
    assert fastest_provider(export).summary == f"cpu (without cuda: {FULL})"
    assert not machine.images


def test_kept_provider_that_does_not_start_is_measured_again(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cpu=0.02, openvino=0.01, cuda=0.001)
    assert fastest_provider(export).provider == "cuda"
    machine.start_errors["cuda"] = FULL
    lines: list[str] = []
    assert fastest_provider(export, log=lines.append).provider == "openvino"
    assert lines[0] == f"cuda, which was the fastest before, does not start: {FULL}"
    machine.start_errors.clear()
    choice = fastest_provider(export)
    assert (choice.provider, choice.kept_in) == ("cuda", kept(export)[0])


def test_each_provider_has_the_device_alone(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01, cuda=0.001)
    opened: list[Predictor] = []
    enter = Predictor.__enter__

    def note(predictor: Predictor) -> Predictor:
        assert all(other._runner is None for other in opened)
        opened.append(predictor)
        return enter(predictor)

    monkeypatch.setattr(Predictor, "__enter__", note)
    fastest_provider(export)
    assert len(opened) == 6


def test_provider_without_a_model_that_suits_it_is_left_out(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.001)
    real = find_model

    def find(model: Path | None, *, provider: Any) -> Path:
        if provider == "openvino":
            raise ModelError("expected a model for openvino, found none")
        return real(model, provider=provider)

    monkeypatch.setattr(candidates, "find_model", find)
    choice = fastest_provider(export)
    assert choice.summary == "cpu (without openvino: expected a model for openvino, found none)"


@pytest.mark.parametrize("spinning", [True, False])
def test_it_is_measured_with_the_threads_of_the_command(
    export: Path, monkeypatch: pytest.MonkeyPatch, spinning: bool
) -> None:
    machine = Machine(monkeypatch, cpu=0.02, openvino=0.01)
    fastest_provider(export, threads=3, spinning=spinning)
    assert set(machine.settings) == {(3, spinning), (1, spinning)}  # of openvino, one worker


def test_each_number_of_threads_keeps_its_choice(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01)
    settings = [(1, True), (2, True), (2, False)]
    for is_kept in (False, True):
        found = [fastest_provider(export, threads=threads, spinning=spinning) for threads, spinning in settings]
        assert [choice.kept_in is not None for choice in found] == [is_kept] * 3
    assert len(kept(export)) == 3


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (0.001, 1000.0),
        (0.5, 2.0),  # 16 s for a batch
        (1.0, 1.0),  # 32 s
        (2.0, None),  # 64 s
    ],
)
def test_measurement_is_bounded(
    export: Path, monkeypatch: pytest.MonkeyPatch, cuda: float, expected: float | None
) -> None:
    machine = Machine(monkeypatch, cpu=0.02, cuda=cuda)
    choice = fastest_provider(export)
    assert measured(choice)["cuda"] == (None if expected is None else pytest.approx(expected))
    if expected is None:
        assert "without cuda: its first batches took 64 s, at most 60 s were expected)" in choice.summary
        assert not kept(export)
    assert machine.images["cuda"] * cuda < 100


def test_slow_verification_leaves_a_provider_out_but_not_the_cpu(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cpu=10.0, cuda=0.001)

    def slow(model: Path, **options: Any) -> Any:
        machine.now += 61
        return verify(model, **options)

    monkeypatch.setattr(module, "verify", slow)
    choice = fastest_provider(export)
    assert choice.summary == "cpu (without cuda: its verification took 61 s, at most 60 s were expected)"


def test_the_cpu_has_no_limit(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=100.0, cuda=0.001)
    assert measured(fastest_provider(export, threads=1)) == pytest.approx({"cpu": 0.01, "cuda": 1000.0})


def test_with_the_cpu_alone_nothing_is_measured(export: Path) -> None:
    choice = fastest_provider(None)
    assert (choice.provider, choice.model.resolve()) == ("cpu", (export / "model.fp32.onnx").resolve())
    assert choice.summary == "cpu (the only provider that is installed)"
    assert not kept(export)


def test_provider_that_cannot_run_here_is_named_with_its_reason(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, cpu=0.02)
    reasons = {"cpu": None, "openvino": "its plugin does not load; run on --provider cpu here"}
    monkeypatch.setattr(candidates, "installed_providers", lambda: reasons)
    assert fastest_provider(export).summary == "cpu (without openvino: its plugin does not load)"
    assert not machine.images


def test_missing_file_is_an_error(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, cuda=0.001)
    with pytest.raises(ModelError, match="found no file at"):
        fastest_provider(export / "model.onnx")


def test_without_golden_inputs_the_cpu_is_chosen(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.001)
    assert fastest_provider(export).provider == "openvino"
    (export / FILE_NAME).unlink()
    lines: list[str] = []
    choice = fastest_provider(export, log=lines.append)
    assert (choice.provider, choice.kept_in) == ("cpu", None)
    assert not any(line.startswith("verifying") for line in lines)
    assert "without openvino: expected the model's golden inputs at" in choice.summary


def test_no_provider_that_passes_is_an_error(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.001)
    monkeypatch.setattr(
        module, "verify", lambda model, **options: replace(verify(model), failures=("max |dp| is 0.3",))
    )
    with pytest.raises(CheckFailed, match=r"found none \(cpu: max \|dp\| is 0.3; openvino: max"):
        fastest_provider(export)
    assert not kept(export)


def test_choice_that_cannot_be_written_is_measured_again_with_a_note(
    export: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01)

    def fail(*arguments: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(kept_choice, "write_text", fail)
    for _ in range(2):
        lines: list[str] = []
        choice = fastest_provider(export, log=lines.append)
        assert (choice.provider, choice.kept_in) == ("openvino", None)
        assert lines[-1] == (
            f"not kept for the next start, as the file cannot be written ('{export}': read-only file system; "
            f"'{cache / 'ctonnx/fastest'}': read-only file system)"
        )


def test_throughput_is_measured_with_images(export: Path) -> None:
    with Predictor(export / "model.fp32.onnx") as predictor:
        assert module._seconds(predictor, 8) > 0


def test_damaged_golden_inputs_are_an_error_of_their_own(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01)
    (export / FILE_NAME).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"^expected golden inputs in .*golden\.npz', found a file that is damaged"):
        fastest_provider(export)


def test_builds_over_each_other_are_reported(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "overlaid_builds", lambda: "two builds are installed over each other; uninstall one")
    lines: list[str] = []
    fastest_provider(export, log=lines.append)
    assert lines[0] == "warning: two builds are installed over each other; uninstall one"


def test_choice_for_a_signed_model_is_kept_in_the_users_cache_alone(
    signed: Path, maker: "KeyPair", cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No signature covers a file next to the model, in which anyone could name a provider that was not verified."""
    Machine(monkeypatch, cpu=0.02, openvino=0.01)
    choice = fastest_provider(signed)
    assert kept(signed) == [fastest_provider(signed).kept_in]
    (file,) = kept(signed)
    file.write_text(file.read_text().replace('"provider": "openvino"', '"provider": "cpu"'))
    trusted = fastest_provider(signed, trust=[maker.public])
    assert (trusted.provider, trusted.kept_in) == ("openvino", None)
    (in_cache,) = (cache / "ctonnx/fastest").iterdir()
    assert fastest_provider(signed, trust=[maker.public]) == replace(choice, kept_in=in_cache)


def test_model_that_is_not_trusted_is_neither_verified_nor_measured(
    signed: Path, other: "KeyPair", monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, cpu=0.02, openvino=0.01)
    monkeypatch.setattr(module, "verify", lambda *arguments, **options: pytest.fail("verified"))
    monkeypatch.setattr(module, "find_candidates", lambda model: pytest.fail("searched"))
    with pytest.raises(SignatureError):
        fastest_provider(signed, trust=[other.public])
