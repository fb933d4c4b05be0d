"""`ctonnx compress`: the new run, its gate, and a compression that is resumed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.compress.conftest import LOOSE
from tests.conftest import empty_plots, thin_network

from ctonnx.artifacts.run import Run
from ctonnx.errors import CheckFailed, DataError, ModelError
from ctonnx_compress import compress as module
from ctonnx_compress import gate
from ctonnx_compress.compress import REPORT, compress, resume
from ctonnx_compress.settings import CompressSettings
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training import train as training
from ctonnx_train.training.loop import fit as fit_module


@pytest.fixture(autouse=True)
def thin() -> Any:
    with thin_network(), empty_plots():
        yield


def stop_at(epoch: int) -> Callable[[str], None]:
    """Returns a log that ends the compression as Ctrl-C does, at the end of an epoch."""

    def log(line: str) -> None:
        if line.startswith(f"epoch   {epoch}/"):
            raise KeyboardInterrupt

    return log


def test_the_result_is_a_run_that_names_its_parent(compressed_run: Run, trained_run: Run) -> None:
    found, parent = load_checkpoint(compressed_run), load_checkpoint(trained_run)
    assert found.record.classes == parent.record.classes
    assert found.record.data["fingerprint"] == parent.record.data["fingerprint"]
    named = found.record.parent
    assert named is not None
    assert (named["name"], named["weights_sha256"]) == ("tiny", parent.sha256)
    assert named["multiplications"] / named["original_multiplications"] <= named["operations"] <= LOOSE.operations
    assert set(named["comparison"]) == {"valid", "test"}
    assert found.record.training["epochs"] == LOOSE.epochs
    assert parent.record.parent is None
    weights, originals = (load_file(run.weights_file) for run in (compressed_run, trained_run))
    assert weights["backbone.layer3.0.conv2.weight"].shape < originals["backbone.layer3.0.conv2.weight"].shape
    text = (compressed_run.folder / REPORT).read_text(encoding="utf-8")
    assert "layer3.0.conv2 | 32 -> 16" in text
    assert not compressed_run.plan_file.exists()


def test_the_result_is_exported_like_any_run(compressed_run: Run, tmp_path: Path) -> None:
    from ctonnx_export.export import export_run

    run = Run(tmp_path / "small")
    shutil.copytree(compressed_run.folder, run.folder)
    result = export_run(run)
    assert [model.precision for model in result.written] == ["fp32"]
    for name in ("report.md", "README.md"):
        assert "was compressed from that of 'tiny' (weights " in (run.export_folder / name).read_text(encoding="utf-8")


def test_a_network_that_disagrees_with_its_parent_is_not_kept(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_network(network: Any, *arguments: Any, **options: Any) -> None:
        network.head.dense3.bias.data = network.head.dense3.bias.data.roll(1) + torch.tensor([9.0, 0, -9.0, 0])

    monkeypatch.setattr(module, "prune", break_network)
    monkeypatch.setattr("ctonnx_compress.distillation._LEARNING_RATE", 0.0)
    settings = CompressSettings(operations=0.92, steps=1, epochs=1, max_drop=1.0, min_agreement=0.9)
    with pytest.raises(CheckFailed, match=r"does not agree with .*agreement is \d.*at least 90\.00% is required"):
        compress(trained_run, settings=settings, name="broken", root=tmp_path)
    assert not (tmp_path / "broken").exists()


def test_a_loss_of_accuracy_is_not_kept(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ctonnx.parity.comparison import AccuracyChange

    found = gate.compare_with_parent

    def worse(*arguments: Any) -> Any:
        change = AccuracyChange(images=8, reference=1.0, candidate=0.9, difference=-0.1, low=-0.2, high=0.0)
        return {split: replace(of, change=change) for split, of in found(*arguments).items()}

    monkeypatch.setattr(module, "compare_with_parent", worse)
    settings = CompressSettings(operations=0.92, steps=1, epochs=1, max_drop=0.05, min_agreement=0.0)
    with pytest.raises(CheckFailed, match=r"accuracy falls by 10.* points, at most 5"):
        compress(trained_run, settings=settings, name="worse", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("epoch", [2, 3, 4], ids=["in the first step", "after a step", "in the last step"])
def test_a_stopped_compression_resumes_to_the_same_weights(
    compressed_run: Run, trained_run: Run, tmp_path: Path, epoch: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        compress(trained_run, settings=LOOSE, name="small", root=tmp_path, log=stop_at(epoch))
    stopped = Run(tmp_path / "small")
    assert stopped.plan_file.exists()
    assert not stopped.has_checkpoint
    lines: list[str] = []
    result = resume(stopped.folder, log=lines.append)
    assert any(line.startswith("resuming after epoch") for line in lines)
    assert not stopped.plan_file.exists()
    weights, expected = (load_file(run.weights_file) for run in (result.run, compressed_run))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert weights.keys() == expected.keys()


def test_a_compression_that_is_stopped_before_its_first_epoch_leaves_nothing(trained_run: Run, tmp_path: Path) -> None:
    def log(line: str) -> None:
        if "looking for the least important" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(trained_run, settings=LOOSE, name="small", root=tmp_path, log=log)
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_only_its_own_kind_of_run(trained_run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        compress(trained_run, settings=LOOSE, name="small", root=tmp_path, log=stop_at(2))
    stopped = tmp_path / "small"
    with pytest.raises(DataError, match="resume it with: ctonnx compress --resume"):
        training.resume(stopped)
    plan = json.loads((stopped / "plan.json").read_text(encoding="utf-8"))
    for changed, error, message in (
        (plan | {"compression": None}, DataError, "resume it with: ctonnx train --resume"),
        (plan | {"compression": {"parent": 3}}, ModelError, "expected the settings of the compression"),
        (
            plan | {"compression": plan["compression"] | {"weights_sha256": "0" * 64}},
            DataError,
            "that the compression started from, found others",
        ),
    ):
        (stopped / "plan.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(error, match=message):
            resume(stopped)


def test_runs_that_cannot_be_compressed_are_rejected_before_anything_is_written(
    trained_run: Run, tmp_path: Path
) -> None:
    for changed, message in (
        ({"data": {"folds": 5}}, "compress a run that was trained without --folds"),
        ({"data": {"fingerprint": "0" * 64}}, "found that they have changed"),
    ):
        run = Run(tmp_path / "parents" / message[:9].replace(" ", "-"))
        shutil.copytree(trained_run.folder, run.folder)
        record = json.loads(run.record_file.read_text(encoding="utf-8"))
        for name, values in changed.items():
            record[name] |= values
        run.record_file.write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(DataError, match=message):
            compress(run, settings=LOOSE, root=tmp_path / "runs")
    with pytest.raises(DataError, match=r"expected --operations of 0\.\d+ or more for .* found 0.1"):
        compress(trained_run, settings=CompressSettings(operations=0.1), root=tmp_path / "runs")
    assert list((tmp_path / "runs").glob("*")) == []


def test_a_finished_run_is_not_removed_by_a_later_error(trained_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "finished")
    shutil.copytree(trained_run.folder, run.folder)
    plan: Any = None
    with (
        pytest.raises(OSError, match="No space left"),
        training.keeping_finished_epochs(run, plan, lambda line: None, is_new=True),
    ):
        raise OSError(28, "No space left on device")
    assert run.has_checkpoint


def test_a_run_is_complete_with_its_report_or_not_there(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "as_markdown", fail)
    with pytest.raises(OSError, match="No space left"):
        compress(trained_run, settings=LOOSE, name="small", root=tmp_path)
    stopped = Run(tmp_path / "small")
    assert not stopped.has_checkpoint
    monkeypatch.undo()
    with thin_network(), empty_plots():
        assert (resume(stopped.folder).run.folder / REPORT).is_file()


def test_last_epochs_without_a_finite_loss_are_not_kept(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def earlier(*arguments: Any, **options: Any) -> Any:
        fitted = fit_module.fit(*arguments, **options)
        fitted.best.epoch -= 1
        return fitted

    monkeypatch.setattr(module, "fit", earlier)
    with pytest.raises(CheckFailed, match="the last epochs have no finite validation loss"):
        compress(trained_run, settings=LOOSE, name="small", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_settings_are_those_of_the_training_where_they_fit_here(trained_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "old")
    shutil.copytree(trained_run.folder, run.folder)
    record = json.loads(run.record_file.read_text(encoding="utf-8"))
    record["settings"] |= {"precision": "fp16", "devices": 4, "compile": True, "seed": 7}
    del record["settings"]["augmentation"]  # as in an earlier release
    run.record_file.write_text(json.dumps(record), encoding="utf-8")
    settings = module._train_settings(load_checkpoint(run).record, CompressSettings(batch_size=5), 2)
    assert (settings.augmentation, settings.precision, settings.seed) == ("standard", "auto", 7)
    assert (settings.devices, settings.compile, settings.batch_size, settings.threads) == (1, False, 5, 2)
    assert module._train_settings(load_checkpoint(trained_run).record, LOOSE, None).batch_size == 8
