"""`ctonnx drift`: a table, a document and a picture of the comparison; the exit code is 1 for an alarm."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.cli.main import main
from ctonnx.server.monitoring.usage_log import UsageLog
from ctonnx.system.files import sha256_of

USUAL = [{"class": "normal", "score": "0.10"}] * 60 + [{"class": "tumor", "score": "0.90"}] * 40
OTHER = [{"class": "tumor", "score": "0.90"}] * 200


def with_usage(model: Path, folder: Path, usage: UsageReference | None) -> Path:
    """Writes a copy of a model with a reference."""
    loaded = onnx.load(model)
    (metadata,) = [entry for entry in loaded.metadata_props if entry.key == METADATA_KEY]
    metadata.value = replace(ModelSpec.from_json(metadata.value), usage=usage).to_json()
    onnx.save(loaded, folder / "model.fp32.onnx")
    return folder / "model.fp32.onnx"


def logged(model: Path, folder: Path, images: list[dict[str, str]]) -> Path:
    with UsageLog(folder / "usage", sha256_of(model), pytest.fail) as log:
        for image in images:
            log.add(image)
    return folder / "usage"


def drift(*words: object) -> Result:
    return CliRunner().invoke(main, ["drift", *map(str, words)])


@pytest.fixture
def known(model: Path, tmp_path: Path) -> Path:
    return with_usage(model, tmp_path, UsageReference.of(USUAL))


def test_no_alarm_is_zero(known: Path, tmp_path: Path) -> None:
    result = drift(logged(known, tmp_path, USUAL * 2), "--model", known)
    assert (result.exit_code, result.stderr) == (0, "")
    first, *_, last = result.stdout.splitlines()
    today = datetime.now(UTC).date()
    assert first == f"{known}: {today} to {today}, 200 images in use, 100 images that it was fitted on"
    assert last == "no alarm: nothing differs (p above 0.00017)"


def test_alarm_is_one_and_the_picture_is_written(known: Path, tmp_path: Path) -> None:
    result = drift(logged(known, tmp_path, OTHER), "--model", known, "--plot", tmp_path / "drift.svg")
    assert result.exit_code == 1
    expected = "alarm: 'class', 'score' differ from the images that the model was fitted on (p at most 0.00017)"
    assert result.stdout.splitlines()[-1] == expected
    assert (tmp_path / "drift.svg").read_text().startswith("<svg ")


def test_document_has_the_counts(known: Path, tmp_path: Path) -> None:
    result = drift(logged(known, tmp_path, OTHER), "--model", known, "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["alarms"], document["images"]) == (1, ["class", "score"], 200)
    assert document["comparisons"][0]["window"] == {"tumor": 200}
    assert document["comparisons"][0]["reference"] == {"normal": 60, "tumor": 40}


def test_too_few_images_are_reported_and_no_picture_is_written(known: Path, tmp_path: Path) -> None:
    result = drift(logged(known, tmp_path, OTHER[:20]), "--model", known, "--plot", tmp_path / "drift.svg")
    assert result.exit_code == 0
    expected = "too few images: expected at least 50 in use and 50 that the model was fitted on"
    assert result.stdout.splitlines()[-1] == expected
    assert not (tmp_path / "drift.svg").exists()
    assert result.stderr == f"no plot: '{tmp_path / 'drift.svg'}' is not written, as there are too few images\n"


def test_model_without_a_reference_is_an_error(model: Path, tmp_path: Path) -> None:
    old = with_usage(model, tmp_path, None)
    result = drift(logged(old, tmp_path, OTHER), "--model", old)
    assert result.exit_code == 2
    assert "found one without: it was trained by an earlier release" in result.stderr


def test_log_of_another_model_is_an_error(known: Path, model: Path, tmp_path: Path) -> None:
    result = drift(logged(model, tmp_path, OTHER), "--model", known)
    assert result.exit_code == 2
    assert f"the log has images of: {sha256_of(model)[:12]}... (200 images)" in result.stderr
    nothing = drift(tmp_path / "usage", "--model", model, "--until", "2020-01-01")
    assert "until 2020-01-01, found none" in nothing.stderr


def test_days_in_the_wrong_order_are_an_error(known: Path, tmp_path: Path) -> None:
    result = drift(logged(known, tmp_path, OTHER), "--since", "2026-12-02", "--until", "2026-12-01")
    assert result.exit_code == 2
    assert "expected --since before --until, found 2026-12-02 and 2026-12-01" in result.stderr
