"""`ctonnx inspect`: a table for people, a JSON document for programs, one sentence for files that are not models."""

import json
import re
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from ctonnx.artifacts.caveats import caveats_of
from ctonnx.artifacts.provenance.bom import bill_of_materials, folder_bom
from ctonnx.cli.main import main
from ctonnx.inference.session import open_session, read_spec


def inspect(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, words)])


def test_json_is_the_spec_with_the_file_and_its_inputs_and_outputs(model: Path) -> None:
    result = inspect(model, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    spec = read_spec(open_session(model, optimize=False), str(model))
    assert document == {
        "file": str(model),
        "bytes": model.stat().st_size,
        "signature": None,
        "inputs": {"pixels": "tensor(uint8) ['batch', 64, 64, 3]"},
        "outputs": {
            "probabilities": "tensor(float) ['batch', 4]",
            "logits": "tensor(float) ['batch', 4]",
            "heatmap": "tensor(float) ['batch', 4, 2, 2]",
            "novelty": "tensor(float) ['batch']",
        },
        **json.loads(spec.to_json()),
        "caveats": caveats_of(spec),
        "lacks": None,
        "fitted_on": "validation images",
    }


def test_the_file_its_verification_and_its_decision_with_caveats_come_first(model: Path) -> None:
    spec = read_spec(open_session(model, optimize=False), str(model))
    caveats = caveats_of(spec)
    assert len(caveats) > 1
    rows = [re.split(r"  +", line, maxsplit=1) for line in inspect(model).stdout.splitlines()]
    names = [name.partition(".")[0] for name, _ in rows]
    order = ["file", "name", "precision", "created", "synthetic", "classes", "verified"]
    order += ["operating_point", "prediction_sets", "novelty", "brightness", "caveat"]
    assert list(dict.fromkeys(names))[: len(order)] == order
    assert [value for name, value in rows if name == "caveat"] == caveats
    assert dict(rows)["verified"] == (
        f"at export, top-1 agreement {spec.parity['agreement']:.3f} with its PyTorch original on "
        f"{spec.parity['images']} images; on this machine: ctonnx verify {model}"
    )


def test_table_has_a_row_for_each_entry(model: Path) -> None:
    result = inspect(model)
    defined = "the largest absolute difference of any class's probability over the compared images"
    assert (result.exit_code, result.stderr) == (0, f"parity.max_dp is max |dp|: {defined}\n")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines())
    assert rows["file"] == str(model)
    assert rows["bytes"] == str(model.stat().st_size)
    assert rows["classes"] == "cavitating, large central, normal, small peripheral"
    assert rows["inputs.pixels"] == "tensor(uint8) ['batch', 64, 64, 3]"
    assert rows["shortcuts"].startswith("shortcuts in the training images: ")
    assert not any(name.startswith("acquisition") for name in rows)
    assert rows["outputs.heatmap"] == "tensor(float) ['batch', 4, 2, 2]"
    assert (rows["preprocessing.color"], rows["preprocessing.resize"]) == ("grey", "stretch")
    assert (rows["preprocessing.size"], rows["precision"], rows["synthetic"]) == ("64", "fp32", "True")
    assert rows["operating_point.positive"] == "cavitating, large central, small peripheral"
    assert 0 < float(rows["operating_point.threshold"]) < 1
    assert rows["operating_point.target_sensitivity"] == "0.95"
    assert re.fullmatch(r"[01]\.\d+, [01]\.\d+", rows["operating_point.sensitivity_interval"])
    assert (rows["data.leaks.leaked"], rows["data.leaks.dropped"]) == ("test 0, valid 0", "none")
    assert rows["quantization"] == "none"
    assert float(rows["temperature"]) > 0
    assert float(rows["parity.max_dp"]) <= 1e-4
    assert rows["metrics.valid.images"] == "8"
    assert rows["data.images.train"] == "cavitating 4, large central 4, normal 4, small peripheral 4"


def test_tables_of_metrics_are_only_in_json(model: Path) -> None:
    metrics = json.loads(inspect(model, "--json").stdout)["metrics"]["valid"]
    tables = {"confusion_matrix", "intervals", "per_class", "suspicious", "decisions"}
    assert tables < set(metrics)
    rows = {line.split("  ")[0] for line in inspect(model).stdout.splitlines()}
    assert {row for row in rows if row.startswith("metrics.valid.")} == {
        f"metrics.valid.{name}" for name in set(metrics) - tables
    }


def test_empty_list_is_called_none(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    metadata.value = json.dumps({**json.loads(metadata.value), "quantization": {"layers_in_float": []}})
    onnx.save(loaded, tmp_path / "whole.onnx")
    lines = inspect(tmp_path / "whole.onnx").stdout.splitlines()
    assert [re.split(r"  +", line) for line in lines if line.startswith("quantization")] == [
        ["quantization.layers_in_float", "none"]
    ]


def test_missing_operating_point_has_one_row(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    metadata.value = json.dumps({**json.loads(metadata.value), "operating_point": None})
    onnx.save(loaded, tmp_path / "plain.onnx")
    lines = inspect(tmp_path / "plain.onnx").stdout.splitlines()
    assert [re.split(r"  +", line) for line in lines if line.startswith("operating_point")] == [
        ["operating_point", "none"]
    ]


def test_newest_run_is_taken_and_a_run_is_found_by_name(workspace: Path) -> None:
    newest = inspect("--json")
    assert newest.exit_code == 0
    assert json.loads(newest.stdout)["file"] == "runs/tiny/export/model.fp32.onnx"
    for given in ("tiny", "runs/tiny", "runs/tiny/export/model.fp32.onnx"):
        assert inspect(given, "--json").stdout == newest.stdout


def test_class_names_are_printed_as_they_are_written(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    changed = {**json.loads(metadata.value), "classes": ["zdravé", "普通", "a", "b"], "quantization": {"scheme": "QDQ"}}
    changed["operating_point"]["positive"] = ["普通"]
    changed["prediction_sets"] = None
    metadata.value = json.dumps(changed)
    onnx.save(loaded, tmp_path / "named.onnx")
    result = inspect(tmp_path / "named.onnx")
    assert re.search(r"^classes +zdravé, 普通, a, b$", result.stdout, flags=re.MULTILINE)
    assert re.search(r"^quantization\.scheme +QDQ$", result.stdout, flags=re.MULTILINE)
    assert '"普通"' in inspect(tmp_path / "named.onnx", "--json").stdout


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("given", "content", "sentence"),
    [
        ("none.onnx", None, r"expected an \.onnx file, found no file at 'none\.onnx'; list them with: .+"),
        ("bad.onnx", b"", r"expected an \.onnx file, found an empty file at 'bad\.onnx'; export the model again"),
        ("bad.onnx", b"a letter", r"'bad\.onnx' is not a whole ONNX model \(.+\); if it was .+"),
        ("lungs", None, r"expected a run's folder .+ at 'lungs' or 'runs/lungs', found none; train one with: .+"),
        (None, None, r"expected a trained run below 'runs/' \(in '.+'\), found none; train one with: .+"),
    ],
)
def test_file_that_is_not_a_model_is_rejected_with_one_sentence(
    given: str | None,
    content: bytes | None,
    sentence: str,
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if given is not None and content is not None:
        Path(given).write_bytes(content)
    result = inspect(*([given] if given else []), *(["--json"] if as_json else []))
    assert (result.stdout, result.exit_code) == ("", 2)
    assert re.fullmatch(rf"Error: {sentence}\n", result.stderr), result.stderr


def test_rule_for_patients_is_one_sentence(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    spec = json.loads(metadata.value)
    point = {"positive": spec["classes"][:1], "threshold": 0.25, "sensitivity": 1.0, "specificity": 0.5}
    rule = {"aggregate": "top-k", "k": 3, "operating_point": point, "patients": 12}
    metadata.value = json.dumps({**spec, "patient_rule": rule})
    onnx.save(loaded, tmp_path / "patients.onnx")
    lines = inspect(tmp_path / "patients.onnx").stdout.splitlines()
    assert [re.split(r"  +", line) for line in lines if line.startswith("patient_rule")] == [
        [
            "patient_rule",
            "a patient is suspicious if the mean of the 3 most suspicious slices scores 0.25 or more, without "
            "prediction sets; on the 12 validation patients, on which it was fitted: sensitivity 1.000, specificity "
            "0.500",
        ]
    ]
    found = json.loads(inspect(tmp_path / "patients.onnx", "--json").stdout)["patient_rule"]
    assert (found["aggregate"], found["k"], found["patients"]) == ("top-k", 3, 12)


def test_signature_is_shown_and_not_called_valid(export: Path, tmp_path: Path) -> None:
    from tests.runtime.artifacts.provenance.signed_models import make_keys, sign

    def row() -> str:
        lines = inspect(export).stdout.splitlines()
        return next(line.split(maxsplit=1)[1] for line in lines if line.startswith("signature "))

    model = export / "model.fp32.onnx"
    assert row() == "none"
    keys = make_keys(tmp_path / "keys", "maker")
    sign(export, keys)
    check = f"not checked here: ctonnx verify {model} --trust PUBLIC_KEY"
    assert row() == f"by key sha256:{keys.fingerprint}, {check}"
    document = json.loads(inspect(export, "--json").stdout)["signature"]
    assert (document["file"], document["key"], document["checked"]) == ("model.sig", keys.fingerprint, False)
    assert "model.fp32.onnx" in document["files"]
    model.rename(export / "renamed.onnx")
    named = inspect(export / "renamed.onnx").stdout
    assert f"by key sha256:{keys.fingerprint}, without this file, not checked here" in named
    (export / "model.sig").write_text("damaged")
    assert "by an unknown key, without this file, not checked here" in inspect(export / "renamed.onnx").stdout


def test_bill_of_materials_is_that_of_the_folder_or_of_the_named_file(export: Path) -> None:
    for words in ((), ("tiny",), (export,)):
        result = inspect(*words, "--bom")
        assert (result.exit_code, json.loads(result.stdout)) == (0, folder_bom(export))
    model = export / "model.fp32.onnx"
    assert json.loads(inspect(model, "--bom").stdout) == bill_of_materials([model])
    both = inspect("--bom", "--json")
    assert (both.exit_code, both.stdout) == (2, "")
    assert "expected --bom without --json, as it is one JSON document, found both" in both.stderr
