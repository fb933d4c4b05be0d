"""`recalibrate_model`: fits an exported model's values on a site's own scans, and writes a new model file."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ctonnx.artifacts.caveats import (
    novelty_caveats,
    operating_point_caveats,
    patient_rule_caveats,
    prediction_set_caveats,
    recalibration_caveats,
)
from ctonnx.artifacts.spec import ModelSpec, fitted_on
from ctonnx.errors import ModelError
from ctonnx.system.files import sha256_of
from ctonnx.system.packages import version_of
from ctonnx.system.text import Log, counted
from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
from ctonnx_train.evaluation.statistics.metrics import REPLICATES
from ctonnx_train.recalibration.comparison import measure
from ctonnx_train.recalibration.files import check_output, write_model
from ctonnx_train.recalibration.fitting import (
    Values,
    cross_validate,
    fit_values,
    judge,
    targets_of,
    usage_of_scans,
    values_of,
)
from ctonnx_train.recalibration.scans import FOLDS, ScanSplit, SiteScans, read_scans

__all__ = ["SCHEMA_VERSION", "recalibrate_model"]

SCHEMA_VERSION = 1
"""Version of the JSON document."""

_OF_EARLIER_VALUES = ("auroc", "decisions", "ece", "patients", "suspicious")
"""Metrics of the training's images that belong to the earlier values. A temperature changes the order of one class's
probabilities over the images if there are three classes or more, and so its AUROC."""

_FOREIGN = 0.5


def recalibrate_model(
    model: Path,
    data: Path,
    output: Path,
    *,
    split: ScanSplit = "all",
    class_names: Mapping[str, str] | None = None,
    group_regex: str | None = None,
    labels_file: Path | None = None,
    sensitivity: float | None = None,
    coverage: float | None = None,
    quantile: float | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    threads: int | None = None,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Writes a copy of a model whose temperature and thresholds are fitted on a site's own labelled scans.

    The network is the same, bit by bit. The comparison of the values before and after is cross-validated: each scan is
    judged by values that were fitted without its fold.

    Args:
        model: Exported `.onnx` file, which is not changed.
        data: Dataset with the model's classes; see `ctonnx_train.data.image_folder.read_data`.
        output: New `.onnx` file.
        split: Split to use; `all` uses all images.
        class_names: Canonical names for class folders, by the folder's name.
        group_regex: Regular expression for the patients of the scans, in their paths; see `read_scans`. Where patients
            are known, each counts once, is kept in one fold, and has a rule of its own.
        labels_file: Labels file of the images in `data`, if it has one.
        sensitivity: Target sensitivity of the operating point; None keeps the model's.
        coverage: Coverage of the prediction sets; None keeps the model's.
        quantile: Share of the scans that the novelty threshold does not flag; None keeps the model's.
        replicates: Number of bootstrap resamples.
        seed: Random seed of the folds and of the bootstrap.
        threads: Number of threads; None uses all available cores.
        log: Called with each progress message.

    Returns:
        A JSON-ready document with `model`, `output`, `data`, `network_sha256`, the `earlier` and the new `values`, the
        measures `before` and `after`, and `caveats`.

    Raises:
        DataError: If the data cannot be read, or the scans are too few.
        CheckFailed: If the new file does not compute the same logits.
        CtonnxError: If the output exists, or its folder has golden inputs of other models.
        ModelError: If the model is missing or damaged.
    """
    evaluated = open_evaluated_model(model, threads=threads)
    check_output(model, output)  # before the work
    if evaluated.predictor is None:
        raise ModelError(f"expected an exported .onnx file to recalibrate, found the run '{model}'; export it first")
    with evaluated.predictor as predictor:
        spec = predictor.spec
        targets = targets_of(spec, sensitivity=sensitivity, coverage=coverage, quantile=quantile)
        scans = read_scans(
            predictor,
            evaluated,
            data,
            positive=targets.positive,
            split=split,
            class_names=class_names,
            group_regex=group_regex,
            labels_file=labels_file,
            log=log,
        )
    rows = np.arange(len(scans))
    earlier = values_of(spec)
    values = fit_values(scans, rows, targets, earlier)
    settings: dict[str, Any] = {"replicates": replicates, "seed": seed}
    before = measure(judge(scans, rows, earlier), scans, targets.positive, **settings)
    after = measure(cross_validate(scans, targets, earlier, seed), scans, targets.positive, **settings)
    made = _new_spec(spec, values, scans, before, after)
    network, golden = write_model(model, output, made, scans.pixels)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": str(model),
        "output": str(output),
        "sha256": sha256_of(output),
        "golden": None if golden is None else str(golden),
        "network_sha256": network,
        "data": dict(scans.facts),
        "groups": len(np.unique(scans.groups)) if scans.is_grouped else None,
        "folds": FOLDS,
        "earlier": earlier.as_dict(),
        "values": values.as_dict(),
        "before": before,
        "after": after,
        "caveats": _caveats(spec, values, scans, before, after),
    }


def _new_spec(
    spec: ModelSpec, values: Values, scans: SiteScans, before: Mapping[str, Any], after: Mapping[str, Any]
) -> ModelSpec:
    """Returns the spec with new values and one more entry in its history.

    Metrics of the training's images that rest on the earlier values move to the entry.
    """
    divided = {split: _divide(found) for split, found in spec.metrics.items()}
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ctonnx": version_of("ctonnx"),
        "data": {name: scans.facts[name] for name in ("name", "fingerprint", "split", "images")},
        "earlier": asdict(values_of(spec)),
        "earlier_metrics": {split: moved for split, (_, moved) in divided.items()},
        "cross_validated": {"folds": FOLDS, "before": dict(before), "after": dict(after)},
    }
    return replace(
        spec,
        temperature=values.temperature,
        operating_point=values.operating_point,
        prediction_sets=values.prediction_sets,
        patient_rule=values.patient_rule,  # none if patients are unknown, as it belongs to a temperature
        novelty=values.novelty,
        brightness=values.brightness,
        usage=usage_of_scans(scans, values),
        metrics={split: kept for split, (kept, _) in divided.items()},
        history=(*spec.history, entry),
        content_checksum=None,
    )


def _divide(metrics: Mapping[str, Any], *, by_class: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides metrics, at any depth, into those of the network and those of the earlier values.

    With `by_class` the keys are class names, which may be those of metrics.
    """
    kept: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for name, value in metrics.items():
        if name in _OF_EARLIER_VALUES and not by_class:
            moved[name] = value
        elif isinstance(value, Mapping):
            kept[name], of_earlier = _divide(value, by_class=name == "per_class" and not by_class)
            moved |= {name: of_earlier} if of_earlier else {}
        else:
            kept[name] = value
    return kept, moved


def _caveats(
    spec: ModelSpec, values: Values, scans: SiteScans, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[str]:
    fitted = fitted_on([{"data": scans.facts}])
    found = recalibration_caveats(after, f"held-out {fitted}")
    target = values.operating_point.target_sensitivity if values.operating_point else None
    interval = after["sensitivity"]["interval"]
    if target is not None and interval and interval[1] < target:
        found.append(f"on held-out scans the new operating point stays below the target sensitivity of {target:g}")
    found += [
        *operating_point_caveats(values.operating_point),
        *prediction_set_caveats(values.prediction_sets, fitted),
        *novelty_caveats(values.novelty, fitted),
        *patient_rule_caveats(values.patient_rule, fitted),
    ]
    novel = before["novel"]
    if spec.novelty is not None and novel["value"] is not None:
        expected = 1 - spec.novelty.quantile
        if novel["interval"] and novel["interval"][0] > expected:
            found.append(
                f"{novel['value']:.1%} of these scans were flagged as unlike the training images, where "
                f"{expected:.1%} were expected: the new novelty threshold takes them for ordinary. Look for scans that "
                "are there by mistake (`ctonnx predict` names them), and leave them out; what the model is worth on "
                "the others was measured here only"
            )
    known = spec.brightness
    if known is not None:
        foreign = np.mean(
            [of.mean_grey is not None and known.caution(of.mean_grey) is not None for of in scans.impressions]
        )
        if foreign >= _FOREIGN:
            found.append(
                f"{foreign:.0%} of these scans were far darker or brighter than those that the model was fitted on: "
                "the new range of brightness takes them for ordinary, and what the model is worth on them was measured "
                "here only"
            )
    if scans.facts["left_out"]["trained_on"] is None:
        found.append("whether the model was trained on some of these scans is unknown: its run is not next to it")
    if scans.leaked is not None:
        count = int(scans.leaked.sum())
        found.append(
            f"{counted(count, 'scan')} of patients that the model was trained on {'is' if count == 1 else 'are'} among "
            "these, as too few others remain: both columns are optimistic"
        )
    earlier_data = [entry["data"] for entry in spec.history if isinstance(entry.get("data"), Mapping)]
    if scans.facts["fingerprint"] in [data.get("fingerprint") for data in earlier_data]:
        found.append("the earlier values were fitted on these very scans: the column 'before' is optimistic")
    else:
        if count := scans.facts["chosen_by"]:
            verb = "is one" if count == 1 else "are some"
            found.append(
                f"{counted(count, 'scan')} {verb} of the validation images that chose the model and its earlier "
                "values: the column 'before' is optimistic"
            )
        if count := scans.facts["chosen_by_patients"]:
            found.append(
                f"other scans of {count} of these patients chose the model and its earlier values: the column 'before' "
                "is optimistic"
            )
    if values.patient_rule is None and scans.is_grouped:
        found.append(
            "no rule for patients: it needs patients with suspicious scans and without; the new file has none, and "
            "decides about single images only"
        )
    elif values.patient_rule is None and spec.patient_rule is not None:
        found.append(
            "the model's rule for patients was fitted with the earlier temperature: the new file has none, and decides "
            "about single images only; name the patients of the scans with --labels or --group-regex"
        )
    if spec.novelty is None:
        found.append("the model has no novelty output, as exports of earlier releases: nothing flags unusual scans")
    return found
