"""Machine-learning bill of materials of exported models: what they are made of, in CycloneDX's JSON format.

The format is that of https://cyclonedx.org/docs/1.6/json/. It is built from the model files, so that models of earlier
releases have one, too: what their spec lacks is left out. Of patients it has numbers alone, and no path of
the machine that trained or exported the model.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.caveats import caveats_of, missing_checks
from ctonnx.artifacts.golden import FILE_NAME as GOLDEN_FILE
from ctonnx.artifacts.json_schema import number_at, part_at
from ctonnx.artifacts.provenance.signature import SIGNATURE_FILE, is_of_device
from ctonnx.artifacts.run import exported_files
from ctonnx.artifacts.spec import ModelSpec, describe_history, describe_leakage
from ctonnx.parity.outputs import NOVELTY
from ctonnx.system.files import sha256_of
from ctonnx.system.packages import version_of

__all__ = ["BOM_FILE", "bill_of_materials", "folder_bom"]

BOM_FILE = "bom.cdx.json"
"""Name of the bill of materials in an export's folder, which CycloneDX recommends."""

_MODEL, _DATA = "model", "training-data"  # references within the document
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPLITS = {"train": "training", "valid": "validation", "test": "test"}
_METRICS = ("accuracy", "balanced_accuracy", "ece")
_DECISIONS = ("sensitivity", "specificity", "referred_share")
_NOTICE = "A research tool, not a medical device: a prediction is not a diagnosis, and no decision may be based on it."


def folder_bom(folder: Path) -> dict[str, Any]:
    """Returns the bill of materials of all models in an export's folder, with its other files.

    Raises:
        ModelError: If a model has no valid spec.
        OSError: If a file cannot be read.
    """
    models = exported_files(folder)
    left_out = {SIGNATURE_FILE, BOM_FILE, *(file.name for file in models)}
    others = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and not (file.name in left_out or is_of_device(file.name) or file.name.startswith("."))
    ]
    return bill_of_materials(models, others, folder / "report.json")


def bill_of_materials(
    models: Sequence[Path], others: Sequence[Path] = (), report: Path | None = None
) -> dict[str, Any]:
    """Returns the bill of materials of models that were exported from one checkpoint.

    The same files give the same document: it has no time of its own.

    Args:
        models: The `.onnx` files, one or more; the first has the facts that they share.
        others: Files that belong to them, such as the golden inputs.
        report: `report.json` of their export, for the parent of a compressed network; it may be missing.

    Raises:
        ModelError: If a model has no valid spec.
        OSError: If a file cannot be read.
    """
    specs = {file: ModelSpec.of_file(file) for file in models}
    digests = {file: sha256_of(file) for file in (*models, *others)}
    spec = next(iter(specs.values()))
    root = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": spec.name,
        "version": spec.checkpoint_sha256[:12],
        "description": f"Weights of {_architecture(spec)} for CT images, and the models exported from them.",
        **_hashes(spec.checkpoint_sha256),
        **_pedigree(spec, report),
        "components": [_exported(file.name, spec, digests[file]) for file, spec in specs.items()],
        "modelCard": _card(spec),
        "properties": _properties(_facts(spec)),
    }
    number = uuid.uuid5(uuid.NAMESPACE_OID, " ".join([spec.checkpoint_sha256, *digests.values()]))
    files = [{"type": "file", "bom-ref": _ref(file), "name": file.name, **_hashes(digests[file])} for file in others]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "ctonnx", "version": version_of("ctonnx") or "?"}]
            },
            "component": root,
        },
        "components": [_data(spec), *files, *_libraries(spec)],
        "dependencies": [{"ref": _MODEL, "dependsOn": [_DATA]}],
    }


def _exported(name: str, spec: ModelSpec, digest: str) -> dict[str, Any]:
    """Returns the component of an exported file, with the comparison that it passed."""
    size, classes = spec.preprocessing.size, len(spec.classes)
    quantization = spec.quantization or {}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"file:{name}",
        "name": name,
        **_hashes(digest),
        "modelCard": {
            "modelParameters": {
                "inputs": [{"format": f"pixels: uint8 [batch, {size}, {size}, 3], after ctonnx's preprocessing"}],
                "outputs": [
                    {"format": f"{output}: float32 [batch{shape}]"}
                    for output, shape in (
                        ("logits", f", {classes}"),
                        ("probabilities", f", {classes}"),
                        ("heatmap", f", {classes}, {-(-size // 32)}, {-(-size // 32)}"),
                        *([(NOVELTY, "")] if spec.novelty else []),
                    )
                ],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_parity(spec))},
        },
        "properties": _properties(
            {
                "precision": spec.precision,
                "quantization:target": quantization.get("target"),
                **{f"gate:{bound}": value for bound, value in (spec.gate or {}).items()},
            }
        ),
    }


def _parity(spec: ModelSpec) -> Iterator[dict[str, Any]]:
    """Yields the numbers of the comparison with PyTorch (FP32), or with FP32 (other precisions)."""
    images = number_at(spec.parity, "images")
    reference = "the PyTorch original" if spec.precision == "fp32" else "the FP32 model"
    compared = f"parity with {reference}" + (f" on {images:.0f} images" if images is not None else "")
    for name in spec.parity:
        value = number_at(spec.parity, name)
        if value is not None and not name.endswith("images"):
            yield _metric(name, value, spec.parity.get(f"{name}_interval"), compared)


def _card(spec: ModelSpec) -> dict[str, Any]:
    lacks = missing_checks(spec)
    limits = [*(f"{caveat[:1].upper()}{caveat[1:]}." for caveat in caveats_of(spec)), *([f"{lacks}."] if lacks else [])]
    if spec.synthetic:
        limits.insert(0, "It was trained on synthetic phantoms: its predictions have no clinical meaning.")
    return {
        "bom-ref": "model-card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            "architectureFamily": "ResNet",
            "modelArchitecture": _architecture(spec),
            "datasets": [{"ref": _DATA}],
            "inputs": [{"format": "CT slice: DICOM, PNG, JPEG, TIFF or another image"}],
            "outputs": [{"format": f"probability and heatmap of each class: {', '.join(spec.classes)}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_performance(spec))},
        "considerations": {
            "users": ["Imaging engineers and researchers"],
            "useCases": ["Research on the classification of CT slices"],
            "technicalLimitations": limits,
            "ethicalConsiderations": [
                {"name": _NOTICE, "mitigationStrategy": "The web page, its HTTP API and the model card show it."}
            ],
        },
    }


def _architecture(spec: ModelSpec) -> str:
    return "a ResNet50" if spec.networks == 1 else f"an ensemble of {spec.networks} ResNet50s"


def _performance(spec: ModelSpec) -> Iterator[dict[str, Any]]:
    """Yields the metrics of the PyTorch original on each split, and of its decisions, with their intervals."""
    for split in spec.metrics:
        found, name = part_at(spec.metrics, split), _SPLITS.get(split, split)
        intervals, decisions = part_at(found, "intervals"), part_at(found, "decisions")
        yield from _metrics(found, intervals, _METRICS, f"{name} images")
        macro = part_at(found, "macro")
        yield from _metrics(macro, part_at(intervals, "macro"), macro, f"{name} images, mean of the classes")
        for label in part_at(found, "per_class"):
            values = part_at(part_at(found, "per_class"), label)
            bounds = part_at(part_at(intervals, "per_class"), label)
            yield from _metrics(values, bounds, values, f"{name} images, class '{label}'")
        bounds = {decided: decisions.get(f"{decided}_interval") for decided in _DECISIONS}
        yield from _metrics(decisions, bounds, _DECISIONS, f"{name} images, decisions")


def _metrics(
    values: Mapping[str, Any], intervals: Mapping[str, Any], names: Sequence[str] | Mapping[str, Any], images: str
) -> Iterator[dict[str, Any]]:
    for name in names:
        value = number_at(values, name)
        if value is not None and name != "images":  # a number, and not a metric
            yield _metric(name, value, intervals.get(name), images)


def _metric(name: str, value: float, interval: Any, images: str) -> dict[str, Any]:
    low, high = interval if isinstance(interval, list | tuple) and len(interval) == 2 else (None, None)
    bounds = {"lowerBound": f"{low:g}", "upperBound": f"{high:g}"} if _is_number(low) and _is_number(high) else None
    return {
        "type": name,
        "value": f"{value:.6g}",
        "slice": images,
        **({"confidenceInterval": bounds} if bounds else {}),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _facts(spec: ModelSpec) -> dict[str, Any]:
    """Returns facts for which the card has no field: the audit's verdicts, and the values of the decision."""
    shortcuts = part_at(spec.shortcuts, "classes")
    return {
        "created": spec.created,
        "synthetic": spec.synthetic,
        "audit:shortcuts": part_at({"of": spec.shortcuts}, "of").get("verdict", "not audited"),
        **{f"audit:shortcuts:{name}": part_at(shortcuts, name).get("verdict") for name in shortcuts},
        "audit:leakage": _leakage(spec),
        "temperature": spec.temperature,
        "operating-point:classes": spec.operating_point and ", ".join(spec.operating_point.positive),
        "operating-point:threshold": spec.operating_point and spec.operating_point.threshold,
        "prediction-sets:coverage": spec.prediction_sets and spec.prediction_sets.coverage,
        "novelty:threshold": spec.novelty and spec.novelty.threshold,
    }


def _leakage(spec: ModelSpec) -> str:
    if "leaks" not in spec.data:
        return "not audited"
    return describe_leakage(spec.data) or "none: no validation or test image has a copy in an earlier split"


def _data(spec: ModelSpec) -> dict[str, Any]:
    """Returns the component of the training data: name, fingerprint, and numbers of images and patients."""
    images, patients = part_at(spec.data, "images"), part_at(part_at(spec.data, "patients"), "patients")
    counts = {
        f"images:{_SPLITS.get(split, split)}:{name}": count for split in images for name, count in images[split].items()
    }
    counts |= {f"patients:{_SPLITS.get(split, split)}": count for split, count in patients.items()}
    name, fingerprint = str(spec.data.get("name", "unknown")), str(spec.data.get("fingerprint", ""))
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": name,
        **_hashes(fingerprint),
        "data": [
            {
                "type": "dataset",
                "name": name,
                "description": "Generated phantoms."
                if spec.synthetic
                else f"CT images; none is in the exported folder except for a few in {GOLDEN_FILE}.",
                "contents": {"properties": _properties({"fingerprint": fingerprint, **counts})},
            }
        ],
    }


def _libraries(spec: ModelSpec) -> Iterator[dict[str, Any]]:
    """Yields the libraries that exported the models, which a device does not need."""
    for name, version in sorted(spec.versions.items()):
        url = f"pkg:pypi/{quote(re.sub(r'[-_.]+', '-', name).lower())}@{quote(version, safe='')}"
        yield {"type": "library", "bom-ref": url, "name": name, "version": version, "scope": "excluded", "purl": url}


@dataclass(frozen=True)
class _Report:
    """Parts of report.json."""

    model: Mapping[str, Any]
    precisions: Mapping[str, Any]


def _pedigree(spec: ModelSpec, report: Path | None) -> dict[str, Any]:
    """Returns the run that a network was compressed from, and its recalibrations."""
    found: dict[str, Any] = {}
    try:
        read = None if report is None else json_schema.load(_Report, report)
    except (OSError, ValueError):
        read = None
    if read is not None and read.model.get("checkpoint_sha256") == spec.checkpoint_sha256:
        parent = part_at(part_at(read.precisions, "fp32"), "parent")
        if isinstance(name := parent.get("name"), str):
            found["ancestors"] = [
                {
                    "type": "machine-learning-model",
                    "name": name,
                    **_hashes(str(parent.get("weights_sha256", ""))),
                    "properties": _properties({"share-of-its-operations": parent.get("operations")}),
                }
            ]
    if notes := describe_history(spec):
        found["notes"] = "; ".join(notes)
    return {"pedigree": found} if found else {}


def _hashes(digest: str) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": digest}]} if _DIGEST.fullmatch(digest) else {}


def _ref(file: Path) -> str:
    return f"file:{file.name}"


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns properties of the namespace `ctonnx`, without those that are None."""
    return [
        {"name": f"ctonnx:{name}", "value": str(value).lower() if isinstance(value, bool) else str(value)}
        for name, value in values.items()
        if value is not None
    ]
