"""`recalibrate_model`: a planted shift is undone, and the file keeps its history."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.train.grey_models import CLASSES, POINT, write_model, write_scans

from ctonnx.artifacts.caveats import caveats_of
from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY, read_metadata
from ctonnx.artifacts.spec import ModelSpec, describe_history
from ctonnx.errors import DataError
from ctonnx.prediction.device.verification import verify
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.evaluate import evaluate_model
from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
from ctonnx_train.evaluation.external.external import evaluate_external
from ctonnx_train.recalibration.recalibrate import recalibrate_model
from ctonnx_train.recalibration.report import as_text

COUNTS = {"large cell": 30, "normal": 60, "tumor": 30}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Scans that another window darkened: the model's threshold misses most of the suspicious ones."""
    return write_scans(tmp_path / "site", COUNTS, dimmed=0.6)


def spec_of(file: Path) -> ModelSpec:
    return ModelSpec.from_json(read_metadata(file)[METADATA_KEY])


def recalibrate(model: Path, data: Path, output: Path, **options: Any) -> dict[str, Any]:
    return recalibrate_model(model, data, output, replicates=50, **options)


def test_sensitivity_comes_back_on_scans_that_chose_nothing(tmp_path: Path, site: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    output = tmp_path / "new/model.fp32.onnx"
    found = recalibrate(model, site, output)
    assert found["before"]["sensitivity"]["value"] < 0.5
    assert found["after"]["sensitivity"]["value"] >= 0.95
    held_out = write_scans(tmp_path / "held out", COUNTS, seed=1, dimmed=0.6)
    before, after = (
        evaluate_model(open_evaluated_model(file), held_out, replicates=0).document["suspicious"]
        for file in (model, output)
    )
    assert before["sensitivity"] < 0.5
    assert after["sensitivity"] >= 0.95
    assert after["specificity"] >= 0.9
    assert verify(output).failures == ()
    json.dumps(found, allow_nan=False)


def test_spec_has_the_new_values_and_its_history(tmp_path: Path, site: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx", temperature=1.37)
    first, second = tmp_path / "first/model.fp32.onnx", tmp_path / "second/model.fp32.onnx"
    found = recalibrate(model, site, first, sensitivity=0.9, coverage=0.8)
    old, new = spec_of(model), spec_of(first)
    assert (new.temperature, new.checkpoint_sha256) == (found["values"]["temperature"], old.checkpoint_sha256)
    assert new.operating_point is not None
    assert (new.operating_point.target_sensitivity, new.operating_point.positive_images) == (0.9, 60)
    assert new.prediction_sets is not None
    assert (new.prediction_sets.coverage, new.prediction_sets.images) == (0.8, COUNTS)
    assert new.metrics["test"] == {
        "images": 72,
        "accuracy": 0.7,
        "macro": {"f1": 0.6},
        "per_class": {"normal": {"f1": 0.6}},
        "intervals": {"accuracy": [0.6, 0.8]},
    }
    (entry,) = new.history
    assert entry["data"] == {name: found["data"][name] for name in ("name", "fingerprint", "split", "images")}
    assert entry["earlier"]["temperature"] == 1.37
    assert entry["earlier"]["operating_point"]["threshold"] == POINT.threshold
    assert entry["earlier"]["prediction_sets"] is entry["earlier"]["novelty"] is None
    assert entry["earlier_metrics"]["test"] == {
        "ece": 0.1,
        "macro": {"auroc": 0.8},
        "per_class": {"normal": {"auroc": 0.8}},
        "intervals": {"ece": [0.0, 0.2]},
        "suspicious": {"sensitivity": 0.9},
    }
    assert entry["cross_validated"]["after"] == found["after"]
    assert entry["date"].endswith("+00:00")
    opened = open_evaluated_model(first)
    caveats = evaluate_model(opened, site, replicates=0).document["caveats"]
    assert caveats[0] == "the model was recalibrated on these very scans: its metrics on them are optimistic"
    assert caveats[-1].startswith("the decisions of this model rest on ")  # what it lacks
    outside = evaluate_external(first, site, positive=["tumor", "large cell"], replicates=0)
    assert (outside["data"]["recalibrated_on"], outside["verdict"]["name"]) == (True, "not shown")
    assert caveats[0] in outside["caveats"]
    again = recalibrate(first, site, second)
    assert "the earlier values were fitted on these very scans: the column 'before' is optimistic" in again["caveats"]
    assert [each["earlier"]["temperature"] for each in spec_of(second).history] == [1.37, new.temperature]
    assert again["network_sha256"] == found["network_sha256"]
    assert verify(second).failures == ()


def test_model_of_schema_1_is_recalibrated(tmp_path: Path, site: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx", golden=False)
    loaded = onnx.load(model)
    kept = json.loads(loaded.metadata_props[0].value)
    for name in ("prediction_sets", "novelty", "brightness", "shortcuts", "acquisition", "history", "content_checksum"):
        del kept[name]
    onnx.helper.set_model_props(loaded, {METADATA_KEY: json.dumps(kept | {"schema_version": 1})})
    onnx.save(loaded, model)
    found = recalibrate(model, site, tmp_path / "new.onnx")
    assert spec_of(tmp_path / "new.onnx").prediction_sets is not None
    assert found["before"]["coverage"]["value"] is None
    assert any(caveat.startswith("the model has no novelty output") for caveat in found["caveats"])


def test_caveats_name_the_limits_of_the_fit(tmp_path: Path) -> None:
    """Classes without a difference: no threshold separates them."""
    counts = dict.fromkeys(CLASSES, 25)
    data = write_scans(tmp_path / "alike", counts, kinds=dict.fromkeys(CLASSES, "normal"))
    found = recalibrate(write_model(tmp_path / "model.fp32.onnx"), data, tmp_path / "new/model.fp32.onnx")
    shown = "\n".join(found["caveats"])
    assert shown.startswith("on the held-out scans of 'alike' the score barely separates suspicious ones from others ")
    assert found["caveats"][1].startswith("the model refers 1.0")  # its sets have classes of both kinds
    assert caveats_of(spec_of(tmp_path / "new/model.fp32.onnx"))[1].startswith("the model refers 1.0")
    assert "too few to show a sensitivity of 0.95" in shown
    assert "the operating point was fitted on 25 images of other classes, too few" in shown
    assert "whether the model was trained on some of these scans is unknown: its run is not next to it" in shown


def test_validation_images_make_the_first_column_optimistic(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.train.recalibration.test_scans import stored

    model = write_model(tmp_path / "model.fp32.onnx")
    opened = open_evaluated_model(model)
    digests: dict[Split, frozenset[str]] = {
        "train": frozenset({"of another image"}),
        "valid": frozenset({stored(site, opened).digests["tumor/1.png"]}),
    }
    monkeypatch.setattr(
        "ctonnx_train.recalibration.recalibrate.open_evaluated_model",
        lambda file, threads: replace(opened, digests=digests),
    )
    caveats = recalibrate(model, site, tmp_path / "new/model.fp32.onnx")["caveats"]
    assert caveats[-2] == (
        "1 scan is one of the validation images that chose the model and its earlier values: the column 'before' is "
        "optimistic"
    )


def test_other_scans_of_validation_patients_make_the_first_column_optimistic(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    opened = open_evaluated_model(model)
    known: dict[str, Any] = {
        "data": {"patients": {"origin": "--group-regex"}},
        "data_root": site.resolve(),
        "training_patients": frozenset({"of another scan"}),
        "validation_patients": frozenset({"1", "2"}),
    }
    monkeypatch.setattr(
        "ctonnx_train.recalibration.recalibrate.open_evaluated_model", lambda file, threads: replace(opened, **known)
    )
    found = recalibrate(model, site, tmp_path / "new/model.fp32.onnx", group_regex=r"/(\d+)\.png")
    assert found["data"]["chosen_by_patients"] == 2
    assert (
        "other scans of 2 of these patients chose the model and its earlier values: the column 'before' is optimistic"
    ) in found["caveats"]


def test_scans_of_training_patients_that_must_be_kept_are_stated(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    opened = open_evaluated_model(model)
    known: dict[str, Any] = {
        "data": {"patients": {"origin": "--group-regex"}},
        "data_root": site.resolve(),
        "training_patients": frozenset(map(str, range(2, 30))),
    }
    monkeypatch.setattr(
        "ctonnx_train.recalibration.recalibrate.open_evaluated_model", lambda file, threads: replace(opened, **known)
    )
    found = recalibrate(model, site, tmp_path / "new/model.fp32.onnx", group_regex=r"/(\d+)\.png")
    caveat = (
        "84 scans of patients that the model was trained on are among these, as too few others remain: both columns "
        "are optimistic"
    )
    assert caveat in found["caveats"]
    assert sum(found["data"]["images"].values()) == 120


def write_labels(site: Path) -> Path:
    """Writes a labels file with the patients of the scans, each with three of a class."""
    rows = ["path,label,patient"]
    for name, count in COUNTS.items():
        rows += [f"{name}/{number}.png,{name},SECRET {name}{number // 3}" for number in range(count)]
    labels = site / "labels.csv"
    labels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return labels


def test_rule_for_patients_is_fitted_again_where_they_are_known(tmp_path: Path, site: Path) -> None:
    rule = PatientRule(aggregate="top-k", k=2, operating_point=POINT, patients=9)
    model = write_model(tmp_path / "model.fp32.onnx", patient_rule=rule)
    output, lines = tmp_path / "new/model.fp32.onnx", list[str]()
    found = recalibrate(model, site, output, labels_file=write_labels(site), log=lines.append)
    assert lines[0] == "patients: 40 from the labels file (of 120 images)"
    assert (found["groups"], found["data"]["patients"]) == (40, {"origin": "labels file", "count": 40})
    new = spec_of(output)
    assert new.patient_rule is not None
    assert (new.patient_rule.aggregate, new.patient_rule.k, new.patient_rule.patients) == ("top-k", 2, 40)
    assert new.patient_rule.operating_point.threshold != POINT.threshold
    assert new.operating_point is not None
    assert new.operating_point.positive_patients == 20
    assert found["before"]["patient_sensitivity"]["value"] < 0.9  # 40 % darker: some patients have no bright slice
    assert found["after"]["patient_sensitivity"]["value"] >= 0.95
    assert found["after"]["patient_sensitivity"]["images"] == found["after"]["patient_specificity"]["images"] == 20
    assert found["after"]["sensitivity"]["effective_images"] == 20
    (entry,) = new.history
    assert entry["earlier"]["patient_rule"]["operating_point"]["threshold"] == POINT.threshold
    assert "operating point of patients from 0.5 to" in describe_history(new)[0]
    assert any("20 suspicious patients, too few to show a sensitivity" in caveat for caveat in found["caveats"])
    assert not any("rule for patients" in caveat for caveat in found["caveats"])
    assert "SECRET" not in json.dumps(found) + new.to_json() + "".join(lines)
    assert "operating point of patients" in as_text(found)
    assert "sensitivity of patients" in as_text(found)
    by_path = recalibrate(model, site, tmp_path / "path/model.fp32.onnx", group_regex=r"(\w+/\d)\d?\.png")
    assert by_path["data"]["patients"] == {"origin": "--group-regex", "count": 30}


def test_rule_for_patients_is_dropped_where_they_are_unknown(tmp_path: Path, site: Path) -> None:
    rule = PatientRule(aggregate="max", operating_point=POINT, patients=9)
    found = recalibrate(
        write_model(tmp_path / "model.fp32.onnx", patient_rule=rule), site, tmp_path / "new/model.fp32.onnx"
    )
    assert spec_of(tmp_path / "new/model.fp32.onnx").patient_rule is None
    assert (found["groups"], found["data"]["patients"]) == (None, None)
    assert "patient_sensitivity" not in found["after"]
    (caveat,) = [caveat for caveat in found["caveats"] if "rule for patients" in caveat]
    assert caveat == (
        "the model's rule for patients was fitted with the earlier temperature: the new file has none, and decides "
        "about single images only; name the patients of the scans with --labels or --group-regex"
    )


def test_too_few_scans_leave_no_file(tmp_path: Path) -> None:
    data = write_scans(tmp_path / "few", {"large cell": 5, "normal": 20, "tumor": 14})
    with pytest.raises(DataError, match=r"found 19 suspicious and 20 others"):
        recalibrate(write_model(tmp_path / "model.fp32.onnx"), data, tmp_path / "new/model.fp32.onnx")
    assert not (tmp_path / "new").exists()


def test_novelty_threshold_moves_to_the_site(tmp_path: Path) -> None:
    quantiles = tuple(np.linspace(0, 0.06, 101).tolist())
    limit = Novelty(threshold=0.05, quantile=0.95, quantiles=quantiles, images=72, training_images=600, components=2)
    model = write_model(
        tmp_path / "model.fp32.onnx", novelty=limit, brightness=BrightnessRange(low=240, high=250, images=600)
    )
    data = write_scans(tmp_path / "site", COUNTS, dimmed=0.3)
    shifted = evaluate_external(model, data, replicates=0)
    assert shifted["shift"]["novelty"]["flagged"]["value"] > 0.9
    assert shifted["referred"]["value"] > 0.9
    output = tmp_path / "new/model.fp32.onnx"
    found = recalibrate(model, data, output)
    assert "100% of these scans were far darker or brighter" in "\n".join(found["caveats"])
    brightness = spec_of(output).brightness
    assert brightness is not None
    assert brightness.high < 150
    assert found["before"]["novel"]["value"] > 0.9
    assert found["after"]["novel"]["value"] <= 0.1
    assert any("of these scans were flagged as unlike the training images" in caveat for caveat in found["caveats"])
    novelty = spec_of(output).novelty
    assert novelty is not None
    assert (novelty.images, novelty.training_images, novelty.components) == (120, 600, 2)
    assert novelty.threshold > limit.threshold
    assert verify(output).failures == ()
