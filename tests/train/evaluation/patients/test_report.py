"""The section on patients: short, per patient, with its subgroups and what their tests show."""

from typing import Any

from tests.train.evaluation.patients.made import CLASSES, POSITIVE, Made, made

from ctonnx.system.text import counted
from ctonnx_train.evaluation.patients.aggregation import Aggregation
from ctonnx_train.evaluation.patients.fitting import fit_patient_rule
from ctonnx_train.evaluation.patients.metrics import ChosenRule, PatientSlices, patient_metrics, rule_of
from ctonnx_train.evaluation.patients.report import NO_RULE, patient_lines, patient_table


def metrics_of(scans: Made, chosen: ChosenRule | None = None, **subgroups: list[str]) -> dict[str, Any]:
    if chosen is None:
        rule = fit_patient_rule(*scans, CLASSES, POSITIVE, choice="max", sensitivity=0.9, coverage=0.9).rule
        assert rule is not None
        chosen = rule_of(rule)
    slices = PatientSlices(patients=scans.patients(**subgroups), samples=scans.samples, groups=scans.numbers)
    return patient_metrics(slices, scans.probabilities, scans.labels, CLASSES, chosen, replicates=0)


def test_the_section_has_the_metrics_the_rule_and_the_decisions_of_patients() -> None:
    found = metrics_of(made(40, 4, signal=6.0))
    lines = list(patient_lines(found, seen=True))
    text = "\n".join(lines)
    assert lines[:2] == [
        "## Patients\n",
        "40 patients with 160 images (patients: --group-regex). A patient's score and probabilities are those of the "
        "most suspicious slice (the model's rule).\n",
    ]
    assert "| class | patients | sensitivity (recall) | specificity | AUROC |\n" in text
    threshold = found["rule"]["threshold"]
    assert f"**Suspicious** (tumor of {threshold:.4g} or more, fitted on the validation patients): " in text
    assert " of 40 patients referred, " in text
    assert " The sets were fitted on some of these patients: expect a lower coverage on others." in text
    assert "Subgroups" not in text


def test_slices_that_are_left_out_are_counted() -> None:
    left_out = {"slices": {"exported twice": 2, "of another series": 40}, "series": 5, "patients": 0}
    found = metrics_of(made(40, 4)) | {"left_out": left_out}
    words = (
        "one series of each patient is used: left out 42 slices (2 exported twice, 40 of another series), "
        "5 whole series"
    )
    assert f"As in `ctonnx predict --by patient`, {words}.\n" in list(patient_lines(found, seen=True))
    assert words in list(patient_table("valid", found))


def test_subgroups_have_a_table_and_a_sentence_each() -> None:
    scans = made(64, 4)
    found = metrics_of(scans, sex=["F", "F", "M", "M"] * 16, site=["A"] * 50 + ["B"] * 14)
    text = "\n".join(patient_lines(found, seen=False))
    assert "| sex | F (32) | M (32) | adjusted p |\n" in text
    assert "| site | A (50) |\n" in text
    assert "\n- sex: no difference beyond chance in " in text
    assert "\n- site: no two groups to compare; too small: B (14).\n" in text
    tests = counted(found["subgroups"]["tests"], "permutation test")
    assert (
        f"{tests} (10000 permutations of the patients); the p-values are adjusted for their number (Holm).\n"
    ) in text


def test_a_difference_beyond_chance_is_reported_with_its_size() -> None:
    scans = made(80, 4, signal=8.0)
    sites = ["A", "A", "B", "B"] * 20
    rule = fit_patient_rule(*scans, CLASSES, POSITIVE, choice="max", sensitivity=0.9, coverage=0.9).rule
    assert rule is not None
    missed = [row for row, number in enumerate(scans.numbers) if sites[number] == "B"]
    scans.probabilities[missed] = (0.99, 0.01)
    found = metrics_of(scans, rule_of(rule), site=sites)
    (line,) = (line for line in patient_lines(found, seen=False) if line.startswith("- site: "))
    assert line.startswith("- site: the sensitivity at the threshold differs between the groups by ")
    assert "(adjusted p = 0.000" in line
    assert [text for text in patient_table("test", found) if text.startswith("site: ")] == [line[2:-1]]


def test_a_missing_threshold_and_a_missing_rule_are_reported() -> None:
    scans = made(12, 4)
    lines = "\n".join(patient_lines(metrics_of(scans, ChosenRule(Aggregation("mean"), None, POSITIVE)), seen=False))
    assert "are those of the mean of all slices (--aggregate, without a threshold).\n" in lines
    assert "**Suspicious**" not in lines
    assert list(patient_lines(metrics_of(scans, ChosenRule()), seen=False)) == [
        "## Patients\n",
        f"12 patients with 48 images (patients: --group-regex). {NO_RULE}.\n",
    ]


def test_the_table_for_the_terminal_has_patients_and_the_rule() -> None:
    found = metrics_of(made(40, 4, signal=6.0))
    table, suspicious, decisions = patient_table("validation", found)
    assert table.startswith("validation, per patient: accuracy ")
    assert " on 40 patients\nclass " in table
    assert table.splitlines()[1].split()[:2] == ["class", "patients"]
    assert suspicious.startswith(
        f"suspicious by the most suspicious slice of {found['rule']['threshold']:.6g} or more: sensitivity "
    )
    assert decisions.startswith("decisions: referred ")
