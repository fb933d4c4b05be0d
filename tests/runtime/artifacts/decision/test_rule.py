import pytest

from ctonnx.artifacts.decision.rule import Decision, decide

POSITIVE = ("adenocarcinoma", "tumor")


@pytest.mark.parametrize(("suspicious", "name"), [(True, "positive"), (False, "negative")])
def test_the_operating_point_decides_where_nothing_speaks_against_it(suspicious: bool, name: str) -> None:
    assert decide(suspicious, POSITIVE) == Decision(name)  # type: ignore[arg-type]
    in_set = ["tumor", "adenocarcinoma"] if suspicious else ["normal", "benign"]
    assert decide(suspicious, POSITIVE, classes_in_set=in_set) == Decision(name)  # type: ignore[arg-type]


def test_a_set_with_suspicious_and_other_classes_refers() -> None:
    found = decide(True, POSITIVE, classes_in_set=["normal", "tumor"])
    assert found == ("refer", "the prediction set has both suspicious and other classes: normal, tumor")


@pytest.mark.parametrize(
    ("suspicious", "in_set", "reason"),
    [
        (True, "normal", "the score reaches the threshold, but the prediction set has only normal"),
        (False, "tumor", "the score is below the threshold, but the prediction set has only tumor"),
    ],
)
def test_a_set_against_the_operating_point_refers(suspicious: bool, in_set: str, reason: str) -> None:
    assert decide(suspicious, POSITIVE, classes_in_set=[in_set]) == ("refer", reason)


def test_novelty_and_a_caution_refer_and_both_are_named() -> None:
    found = decide(False, POSITIVE, classes_in_set=["normal"], is_novel=True, caution="the image is blank")
    assert found.name == "refer"
    assert found.reason == "the image is blank; unlike the training images: its novelty is above the threshold"
