"""The networks that an export converts: that of a run, or those of its folds, which must be complete."""

import json
import shutil
from pathlib import Path

import pytest

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError, ModelError
from ctonnx_export.export import export_run
from ctonnx_export.graph import original


def test_a_run_of_one_network_has_no_ensemble(small_run: Run) -> None:
    with pytest.raises(DataError, match=r"trained in folds for an ensemble, found .* with one network; train with"):
        export_run(small_run, ensemble=True)


def test_a_fold_of_another_run_is_rejected(folds_run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(folds_run.folder, tmp_path / "other"))
    splits = Run(other.folder / "folds" / "2").splits_file
    splits.write_text(splits.read_text(encoding="utf-8").replace("train/", "elsewhere/"), encoding="utf-8")
    with pytest.raises(ModelError, match="belongs to another run"):
        export_run(other, ensemble=True)


def test_a_missing_fold_is_named(folds_run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(folds_run.folder, tmp_path / "other"))
    shutil.rmtree(other.folder / "folds" / "3")
    with pytest.raises(ModelError, match="folds/3"):
        export_run(other, ensemble=True)


def test_an_ensemble_of_too_many_networks_is_rejected(folds_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original, "MOST_NETWORKS", 2)
    with pytest.raises(DataError, match="expected 2 networks or fewer for an ensemble, found 3"):
        export_run(folds_run, ensemble=True)


def test_damaged_metrics_of_the_ensemble_are_rejected_before_the_conversion(folds_run: Run, tmp_path: Path) -> None:
    other = Run(shutil.copytree(folds_run.folder, tmp_path / "other"))
    content = json.loads(other.record_file.read_text(encoding="utf-8"))
    del content["ensemble_metrics"]["test"]["per_class"]
    other.record_file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="lacks values that an export shows"):
        export_run(other, ensemble=True)
