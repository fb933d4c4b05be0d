"""A damaged or edited run.json is rejected in one sentence, or exported: it never ends in a traceback."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.damaging import damaged

from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.cli.main import main
from ctonnx.errors import ModelError
from ctonnx.parity.comparison import Parity
from ctonnx_export.export import ExportResult
from ctonnx_export.graph.original import original_of
from ctonnx_export.models import _spec
from ctonnx_export.report.facts import report
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.report.model_card import model_card
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.checkpoint import Checkpoint
from ctonnx_train.runs.record import RunRecord

NAN = float("nan")


def test_record_with_any_damage_is_rejected_or_reported(small_run: Run, small_export: ExportResult) -> None:
    whole = json.loads(small_run.record_file.read_text(encoding="utf-8"))
    for split in whole["metrics"].values():  # one class represents the others
        del split["confusion_matrix"]
    fp32 = small_export.models[0]
    network = CTClassifier(len(whole["classes"]))
    rejected = taken = 0
    shown: set[str] = set()
    first = whole["classes"][0]

    def is_read_as_another(place: tuple[Any, ...]) -> bool:
        """One split, one class and one fact represent the others, which are read by the same code."""
        return (
            (place[:2] == ("metrics", "test") and len(place) > 2)
            or any(name in whole["classes"] and name != first for name in place)
            or (place[0] == "acquisition" and len(place) > 2 and place[-1] not in ("width", "format", first, 0))
        )

    for what, document in damaged(whole, is_read_as_another):
        try:
            record = RunRecord.from_json(json.dumps(document))
            record.require_metrics()
        except (ValueError, ModelError):
            rejected += 1
            continue
        taken += 1
        try:
            checkpoint = Checkpoint(run=small_run, record=record, network=network, sha256="ab")
            spec = _spec(checkpoint, original_of(checkpoint), Parity(**fp32.spec.parity))
            Path(record.data["folder"]).is_dir()
            text = spec.to_json()
            if text in shown:  # the damage is not in the model, whose spec and report are those of another record
                continue
            shown.add(text)
            assert ModelSpec.from_json(text).classes == record.classes  # every exported model can be opened
            text.encode()
            facts = report([replace(fp32, spec=spec)], {"model.fp32.onnx": {"bytes": 1, "sha256": "ab"}})
            model_card(facts)
            as_markdown(facts)
        except Exception as error:
            raise AssertionError(f"{what} was accepted, and ends in a traceback") from error
    assert rejected > 1000
    assert taken > 100


EDITS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("temperature as text", lambda record: record.update(temperature="1.2")),
    ("temperature that is no number", lambda record: record.update(temperature=NAN)),
    ("temperature of zero", lambda record: record.update(temperature=0)),
    ("no threshold", lambda record: record["operating_point"].pop("threshold")),
    ("threshold as a list", lambda record: record["operating_point"].update(threshold=[0.5])),
    ("unknown positive class", lambda record: record["operating_point"].update(positive=["unicorn"])),
    ("positive class as text", lambda record: record["operating_point"].update(positive="tumor")),
    ("a class twice", lambda record: record["classes"].append(record["classes"][0])),
    ("classes as a number", lambda record: record.update(classes=3)),
    ("a class that is null", lambda record: record["classes"].__setitem__(0, None)),
    ("one class fewer", lambda record: record["classes"].pop()),
    ("folder that is null", lambda record: record["data"].update(folder=None)),
    ("no folder", lambda record: record["data"].pop("folder")),
    ("folder with a NUL", lambda record: record["data"].update(folder="a\0b")),
    ("size as text", lambda record: record["preprocessing"].update(size="64")),
    ("size beyond all", lambda record: record["preprocessing"].update(size=10**9)),
    ("no preprocessing", lambda record: record.pop("preprocessing")),
    ("folder classes as a list", lambda record: record.update(folder_classes=[])),
    ("folder of an unknown class", lambda record: record["folder_classes"].update(other="unicorn")),
    ("digest of other weights", lambda record: record.update(weights_sha256="ab" * 32)),
    ("digest as a number", lambda record: record.update(weights_sha256=3)),
    ("settings that are null", lambda record: record.update(settings=None)),
    ("metrics that are null", lambda record: record.update(metrics=None)),
    ("accuracy as text", lambda record: record["metrics"]["valid"].update(accuracy="high")),
    ("a later schema", lambda record: record.update(schema_version=99)),
    ("schema as text", lambda record: record.update(schema_version="1")),
]


@pytest.mark.parametrize("edit", [edit for _, edit in EDITS], ids=[name for name, _ in EDITS])
def test_edited_record_ends_export_and_evaluate_with_one_sentence(
    edit: Callable[[dict[str, Any]], object], small_run: Run, tmp_path: Path, phantoms: Path
) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    for file in (small_run.weights_file, small_run.splits_file):
        (run.folder / file.name).symlink_to(file)
    record = json.loads(small_run.record_file.read_text(encoding="utf-8"))
    changed = copy.deepcopy(record)
    edit(changed)
    assert repr(changed) != repr(record)
    run.record_file.write_text(json.dumps(changed), encoding="utf-8")
    for command in (["export", str(run.folder)], ["evaluate", str(run.folder), str(phantoms)]):
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
        assert result.stderr.startswith("Error: expected ")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "9" * 100_000, '{"classes": [], "classes": []}', "null", "\ufeff", "{" * 10]
)
def test_record_that_is_not_json_ends_export_with_one_sentence(text: str, small_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    shutil.copy(small_run.splits_file, run.splits_file)
    run.weights_file.symlink_to(small_run.weights_file)
    run.record_file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["export", str(run.folder)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert result.stderr.startswith(f"Error: expected a run's record in '{run.record_file}', found something else (")
