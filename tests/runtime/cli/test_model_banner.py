"""Lines about the model on stderr: which one it is, a newer run without an export, and notes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.runtime.changed_exports import as_schema_1
from tests.runtime.cli.commands.predicting import GOOD, changed_spec, predict

from ctonnx.cli.main import main
from ctonnx.inference.providers import Provider
from ctonnx.prediction.device import fastest_provider
from ctonnx.prediction.device.fastest_provider import Choice


def test_model_trained_on_scans_has_no_note(model: Path, scans: Path) -> None:
    result = predict(*GOOD, "-m", changed_spec(model, synthetic=False))
    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == 4
    assert "synthetic" not in result.stderr


def test_newest_run_is_found_and_named(workspace: Path, scans: Path) -> None:
    result = predict("scans/a.png")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, the newest run's)"
    for given in ("tiny", "runs/tiny", "runs/tiny/export/model.fp32.onnx"):
        named = predict("scans/a.png", "--model", given)
        assert named.stdout == result.stdout
        assert named.stderr.splitlines()[0] == "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu)"


def test_newest_run_with_an_export_is_used_and_a_newer_one_without_is_named(workspace: Path, scans: Path) -> None:
    """Every command without a named model reports which one it uses, and a later run without an export."""
    record = json.loads((workspace / "runs/tiny/run.json").read_text())
    later = workspace / "runs/later"
    later.mkdir()
    (later / "model.safetensors").touch()
    (later / "run.json").write_text(json.dumps({**record, "created": "2999-01-01T00:00:00+00:00"}))
    note = (
        "note: run 'later' was trained later and has no export, so 'tiny' is used; export it with: "
        "ctonnx export runs/later"
    )
    words = "of run 'tiny', the only one with an export"
    found = predict("scans/a.png")
    assert (found.exit_code, found.stderr.splitlines()[:2]) == (
        0,
        [f"model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, {words})", note],
    )
    assert note not in predict("scans/a.png", "--model", "tiny").stderr
    inspected = CliRunner().invoke(main, ["inspect"])
    assert inspected.stderr.splitlines()[:2] == [f"model: runs/tiny/export/model.fp32.onnx ({words})", note]
    verified = CliRunner().invoke(main, ["verify"])
    assert (verified.exit_code, verified.stderr) == (0, f"{note}\n")
    shutil.copytree("runs/tiny/export", later / "export")
    taken = predict("scans/a.png").stderr.splitlines()
    assert taken[0] == (
        "model: runs/later/export/model.fp32.onnx (fp32 on cpu, of run 'later', the newest of 2 with an export)"
    )
    assert not any("was trained later" in line for line in taken)


def test_model_of_schema_1_predicts_verifies_and_shows_what_it_lacks(workspace: Path, scans: Path) -> None:
    file = str(as_schema_1(Path("runs/tiny/export")))
    lacks = "the decisions of this model rest on the operating point and"
    predicted = predict("scans/a.png", "-m", file, "--format", "jsonl")
    assert predicted.exit_code == 0
    assert json.loads(predicted.stdout)["novelty"] is None
    assert predicted.stderr.count(lacks) == 1
    verified = CliRunner().invoke(main, ["verify", file])
    assert verified.exit_code == 0, verified.output
    inspected = CliRunner().invoke(main, ["inspect", file])
    assert inspected.exit_code == 0
    assert [line.split()[0] for line in inspected.stdout.splitlines() if lacks in line] == ["lacks"]


def test_automatic_provider_is_named_with_its_reason(workspace: Path, scans: Path) -> None:
    result = predict("scans/a.png", "--provider", "auto")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:2] == [
        "provider: cpu (the only provider that is installed)",
        "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, the newest run's)",
    ]
    assert result.stdout == predict("scans/a.png").stdout


def choose(monkeypatch: pytest.MonkeyPatch, provider: Provider, model: Path, **kept: Any) -> None:
    choice = Choice(provider=provider, model=model, candidates=(), **kept)
    monkeypatch.setattr(fastest_provider, "fastest_provider", lambda model, **options: choice)


def test_kept_choice_of_the_provider_names_its_file(
    workspace: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace / "runs/tiny/export"
    choose(monkeypatch, "cpu", folder / "model.fp32.onnx", kept_in=folder / "fastest.0.json")
    lines = predict("scans/a.png", "--provider", "auto", "--model", "tiny").stderr.splitlines()
    assert lines[0].endswith(f"; remove {folder}/fastest.0.json to measure again")


def test_cpu_that_replaces_the_fastest_provider_runs_its_own_model(
    workspace: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace / "runs/tiny/export"
    shutil.copy(folder / "model.fp32.onnx", folder / "model.fp16.onnx")
    choose(monkeypatch, "cuda", folder / "model.fp16.onnx")
    for model in ((), ("--model", "tiny")):
        result = predict("scans/a.png", "--provider", "auto", "--fallback", *model)
        assert result.exit_code == 0
        assert "note: using the CPU (--fallback): " in result.stderr
        assert "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu" in result.stderr
