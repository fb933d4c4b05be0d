"""The bill of materials is valid CycloneDX, has what a model is made of, and nothing private."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.changed_exports import as_schema_1

pytest.importorskip("cyclonedx", reason="cyclonedx (of the development tools) is not installed")

from cyclonedx.schema import SchemaVersion  # after the tools
from cyclonedx.validation.json import JsonStrictValidator

from ctonnx.artifacts.provenance.bom import BOM_FILE, bill_of_materials, folder_bom
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ModelError
from ctonnx.system.files import sha256_of


def assert_valid(document: dict[str, Any]) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    assert error is None, error


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {item["name"].removeprefix("ctonnx:"): item["value"] for item in component["properties"]}


def metrics(component: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    found = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    return {(item["type"], item["slice"]): item for item in found}


def test_validator_finds_faults(model: Path) -> None:
    document = bill_of_materials([model])
    assert_valid(document)
    document["components"][0]["modelCard"] = {"unknown": 1}
    with pytest.raises(AssertionError):
        assert_valid(document)


def test_bill_of_an_export_is_written_with_it_and_built_again_from_it(export: Path) -> None:
    written = json.loads((export / BOM_FILE).read_text(encoding="utf-8"))
    assert_valid(written)
    assert written == folder_bom(export)


def test_files_and_their_hashes_are_listed(export: Path) -> None:
    (export / "model.fp32.tuned.json").touch()
    (export / "model.sig").touch()
    document = folder_bom(export)
    (model,) = document["metadata"]["component"]["components"]
    files = {item["name"]: item for item in document["components"] if item["type"] == "file"}
    assert files.keys() == {"golden.npz", "report.json", "report.md", "README.md"}
    for item in (model, *files.values()):
        assert item["hashes"] == [{"alg": "SHA-256", "content": sha256_of(export / item["name"])}]


def test_model_card_has_metrics_with_intervals_parity_and_limits(export: Path) -> None:
    spec = ModelSpec.of_file(export / "model.fp32.onnx")
    root = folder_bom(export)["metadata"]["component"]
    assert root["hashes"] == [{"alg": "SHA-256", "content": spec.checkpoint_sha256}]
    test = spec.metrics["test"]
    accuracy = metrics(root)["accuracy", "test images"]
    low, high = test["intervals"]["accuracy"]
    assert accuracy["value"] == f"{test['accuracy']:.6g}"
    assert accuracy["confidenceInterval"] == {"lowerBound": f"{low:g}", "upperBound": f"{high:g}"}
    assert ("auroc", "test images, mean of the classes") in metrics(root)
    assert ("sensitivity", "validation images, class 'normal'") in metrics(root)
    assert not any(name.endswith("images") for name, _ in (*metrics(root), *metrics(root["components"][0])))
    parity = metrics(root["components"][0])
    images = f"parity with the PyTorch original on {spec.parity['images']} images"
    assert parity["max_dp", images]["value"] == f"{spec.parity['max_dp']:.6g}"
    limits = root["modelCard"]["considerations"]["technicalLimitations"]
    assert limits[0] == "It was trained on synthetic phantoms: its predictions have no clinical meaning."
    assert len(limits) > 2


def test_data_audit_and_libraries(export: Path) -> None:
    spec = ModelSpec.of_file(export / "model.fp32.onnx")
    document = folder_bom(export)
    (data,) = (item for item in document["components"] if item["type"] == "data")
    assert data["hashes"] == [{"alg": "SHA-256", "content": spec.data["fingerprint"]}]
    inner = properties(data["data"][0]["contents"])
    assert inner["fingerprint"] == spec.data["fingerprint"]
    assert inner["images:training:normal"] == str(spec.data["images"]["train"]["normal"])
    found = properties(document["metadata"]["component"])
    assert spec.shortcuts is not None
    assert found["audit:shortcuts"] == spec.shortcuts["verdict"]
    assert found["audit:leakage"] == "none: no validation or test image has a copy in an earlier split"
    libraries = {item["name"]: item["version"] for item in document["components"] if item["type"] == "library"}
    assert libraries == spec.versions
    assert {"torch", "ctonnx"} <= libraries.keys()


def test_nothing_of_the_training_machine_or_of_a_patient_is_in_it(exported_run: Run, phantoms: Path) -> None:
    text = (exported_run.export_folder / BOM_FILE).read_text(encoding="utf-8")
    record = json.loads(exported_run.record_file.read_text(encoding="utf-8"))
    assert record["data"]["folder"] == str(phantoms)
    for private in (str(phantoms), str(phantoms.parent), str(Path.home()), str(exported_run.folder)):
        assert private not in text
    names = {item["name"] for item in json.loads(text)["components"] if item["type"] == "data"}
    assert names == {phantoms.name}


def test_parent_of_a_compressed_network_and_recalibrations_are_its_pedigree(export: Path) -> None:
    report = json.loads((export / "report.json").read_text())
    parent = {"name": "large", "weights_sha256": "ab" * 32, "operations": 0.41}
    report["precisions"]["fp32"]["parent"] = parent
    (export / "report.json").write_text(json.dumps(report))
    document = folder_bom(export)
    assert_valid(document)
    (ancestor,) = document["metadata"]["component"]["pedigree"]["ancestors"]
    assert (ancestor["name"], ancestor["hashes"][0]["content"]) == ("large", "ab" * 32)
    assert properties(ancestor) == {"share-of-its-operations": "0.41"}
    report["model"]["checkpoint_sha256"] = "0" * 64  # a report of another checkpoint
    (export / "report.json").write_text(json.dumps(report))
    assert "pedigree" not in folder_bom(export)["metadata"]["component"]


def test_model_of_the_first_releases_has_one_too(export: Path) -> None:
    model = as_schema_1(export)
    document = bill_of_materials([model])
    assert_valid(document)
    assert properties(document["metadata"]["component"])["audit:shortcuts"] == "not audited"


def test_same_files_give_the_same_document_and_other_files_another_number(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "copy")
    assert folder_bom(export) == folder_bom(tmp_path / "copy")
    (tmp_path / "copy/README.md").write_text("another")
    numbers = {folder_bom(folder)["serialNumber"] for folder in (export, tmp_path / "copy")}
    assert len(numbers) == 2


def test_file_without_a_spec_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="is an ONNX model without a ctonnx spec"):
        bill_of_materials([tmp_path / "model.onnx"])
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        bill_of_materials([tmp_path / "model.onnx"])
