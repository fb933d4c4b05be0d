"""The page's decisions: three words, shapes and colours, the reason to refer, the prediction set and the novelty."""

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.ui import Select
from tests.runtime.server.page.conftest import Page

UNLIKE = "unlike the training images: its novelty is above the threshold"
BOTH = "the prediction set has both suspicious and other classes: normal, nodule"


def result(decision: str, **changes: Any) -> dict[str, Any]:
    """Returns a result of a model of two classes, with a novelty at its median."""
    shares = {"nodule": 0.9, "normal": 0.1} if decision == "positive" else {"normal": 0.9, "nodule": 0.1}
    return {
        "index": 0,
        "file": None,
        "frame": None,
        "caution": None,
        "error": None,
        "milliseconds": 1.5,
        "label": next(iter(shares)),
        "probability": 0.9,
        "probabilities": shares,
        "score": shares["nodule"],
        "decision": decision,
        "reason": None,
        "suspicious": {"positive": True, "negative": False}.get(decision),
        "set": [next(iter(shares))],
        "novelty": 40.0,
        "novelty_percentile": 50.0,
        "unlike_training": False,
        "heatmap": None,
        "scan": None,
        **changes,
    }


PHOTOGRAPH = result("refer", reason=UNLIKE, novelty=400.0, novelty_percentile=100.0, unlike_training=True)


@pytest.fixture
def answer(counted: Page) -> Any:
    """A function that makes the server's answers to the next scans, a list of results for each."""
    counted.until(lambda: counted["#about"].is_enabled())
    model = counted.js("fetch('v1/model').then((answer) => answer.json())")
    parts = {
        "threshold": 0.5,
        "positive": ["nodule"],
        "coverage": 0.95,
        "coverage_not_promised": [],
        "novelty": {"threshold": 100, "quantile": 0.95, "percentile": 97.56},
        "fitted_on": "validation images",
    }

    def give(*answers: list[dict[str, Any]], **changes: Any) -> None:
        documents = [{"model": model | parts | changes, "results": results} for results in answers]
        counted.js(f"window.answers = {json.dumps(documents)}, window.pretend = () => Response.json(answers.shift())")

    return give


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_three_decisions_differ_in_word_shape_and_colour(
    counted: Page, answer: Any, images: list[Path], scheme: str
) -> None:
    counted.look(scheme)
    answer([result("positive")], [result("negative")], [PHOTOGRAPH])
    for number, image in enumerate(images[:3], 1):  # one at a time, as the answers have an order
        counted.give(image)
        counted.finished(number)
    assert counted.states() == ["suspicious", "clear", "refer"]
    words = [row.text for row in counted.all(".status")]
    assert words == ["Suspicious", "Not suspicious", "Refer: unlike the training images"]
    seen = []
    for row, text in zip(counted.all(".open"), ("Suspicious", "Not suspicious", "Refer"), strict=True):
        if row.get_attribute("aria-expanded") == "false":
            row.click()
        assert counted["#verdict"].text == text
        colours = counted.js("[getComputedStyle(decision).color, getComputedStyle(decision).backgroundColor]")
        seen.append((counted["#verdict use"].get_attribute("href"), *colours))
        assert counted.complaints() == []
    assert [len(set(column)) for column in zip(*seen, strict=True)] == [3, 3, 3]
    counted.until(lambda: counted["#summary"].text == "3 scans · 1 suspicious · 1 to refer")
    Select(counted["#filter"]).select_by_visible_text("to refer")
    counted.until(lambda: [row.is_displayed() for row in counted.all("#scans > li")] == [False, False, True])


def test_photograph_is_referred_with_its_reason_and_beyond_the_limit_of_the_scale(
    counted: Page, answer: Any, images: list[Path]
) -> None:
    answer([PHOTOGRAPH])
    counted.give(images[0])
    counted.finished(1)
    assert (counted["#verdict"].text, counted["#reason"].text) == ("Refer", f"U{UNLIKE[1:]}.")
    assert counted["#novelty-words"].text == "Unlike the training scans: 4.0 times the limit."
    usual, here = (counted[name].rect for name in ("#usual", "#here"))
    assert here["x"] > usual["x"] + usual["width"]
    assert counted["#set"].text == (
        "Prediction set: normal. Of new scans like the validation images, at least 95 % of each class have their class "
        "in it."
    )
    assert counted["#known"].text == (
        "The model knows only nodule and normal. It was never shown anything else, and names one of these for any "
        "picture."
    )
    assert counted.js("announcement.textContent").startswith(f"{images[0].name}: Refer: unlike the training images. ")


@pytest.mark.parametrize(
    ("changes", "words", "share"),
    [
        (
            {"novelty_percentile": 50.0},
            "More unusual than 50 % of the validation images; flagged above 97.5 %.",
            50 / 97.56,
        ),
        ({"novelty_percentile": 0.0}, "More unusual than 0 % of the validation images; flagged above 97.5 %.", 0),
        ({"novelty": None, "novelty_percentile": None, "unlike_training": True}, "Unlike the training scans.", None),
    ],
)
def test_scale_shows_the_novelty_against_the_validation_scans(
    counted: Page, answer: Any, images: list[Path], changes: dict[str, Any], words: str, share: float | None
) -> None:
    answer([result("negative", **changes)])
    counted.give(images[0])
    counted.finished(1)
    assert counted["#novelty-words"].text == words
    usual, whole, here = (counted[name].rect for name in ("#usual", "#scale", "#here"))
    middle = here["x"] + here["width"] / 2
    expected = whole["x"] + whole["width"] if share is None else usual["x"] + share * usual["width"]
    assert middle == pytest.approx(expected, abs=1.5)


def test_promise_of_the_set_is_made_only_for_classes_with_enough_images(
    counted: Page, answer: Any, images: list[Path]
) -> None:
    site, limit = "scans of 'site'", {"threshold": 100, "quantile": 0.95, "percentile": 100.0}
    given = [result("negative")]
    answer(given, coverage_not_promised=["nodule"], fitted_on=site, novelty=limit)
    counted.give(images[0])
    counted.finished(1)
    assert counted["#set"].text == (
        "Prediction set: normal. Of new scans like the scans of 'site', at least 95 % of each class have their class "
        "in it. Not promised for nodule: too few images."
    )
    assert counted["#novelty-words"].text == "More unusual than 50 % of the scans of 'site'; flagged above all of them."
    answer(given, coverage_not_promised=["nodule", "normal"], fitted_on=site)
    counted.give(images[1])
    counted.finished(2)
    counted.all(".open")[1].click()
    assert counted["#set"].text == (
        "Prediction set: normal. It promises no coverage: each class has too few scans of 'site'."
    )


def test_model_without_sets_and_novelty_shows_neither(counted: Page, answer: Any, images: list[Path]) -> None:
    lacking = {"set": None, "novelty": None, "novelty_percentile": None, "unlike_training": None}
    answer([result("negative", **lacking)], coverage=None, novelty=None)
    counted.give(images[0])
    counted.finished(1)
    assert [counted[name].is_displayed() for name in ("#set", "#novelty", "#known")] == [False, False, True]


def test_referred_frame_is_shown_before_frames_that_are_not_suspicious(
    counted: Page, answer: Any, images: list[Path]
) -> None:
    mixed = result("refer", reason=BOTH, score=0.02, set=["normal", "nodule"])
    frames = [result("negative", score=0.1), mixed, result("negative", score=0.3)]
    answer([one | {"frame": frame} for frame, one in enumerate(frames)])
    counted.give(images[0])
    counted.finished(1)
    assert counted.states() == ["refer"]
    assert counted[".status"].text == "Refer: the prediction set has both suspicious and other classes"
    assert counted[".result"].text == "0 of 3 frames, 1 to refer · 90.0 % normal"
    assert counted["#frame-value"].text == "2 of 3"
    assert counted["#set"].text.startswith("Prediction set: normal or nodule. ")


def test_warning_that_refers_a_scan_is_shown_once(counted: Page, answer: Any, images: list[Path]) -> None:
    note = "the image is blank: one value everywhere"
    answer([result("refer", reason=note, caution=note)])
    counted.give(images[0])
    counted.finished(1)
    assert counted["#scans > li"].text.count("blank") == 1 + counted["#viewer"].text.count("blank") == 2
    counted.until(lambda: counted["#summary"].text.endswith(" · 1 with a warning"))


def test_facts_of_the_model_have_its_rule_and_what_it_was_never_shown(page: Page) -> None:
    page["#about"].click()
    page.until(lambda: "Never shown" in page["#facts"].text)
    facts = page["#facts"].text
    assert "Anything but cavitating, large central, normal and small peripheral: the model names one of these" in facts
    assert "an image is referred if it has a warning" in facts
