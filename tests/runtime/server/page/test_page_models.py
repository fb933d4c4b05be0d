"""The page and the model that answers: what is told of it, what its answers are read with, and another one after it."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import onnx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import Select
from tests.runtime.server.page.conftest import VERDICTS, Page, serving

from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec, describe_leakage

NEVER = 0.999999  # a threshold that no sum of the test model reaches
LEAKED = {
    "groups": 3,
    "files": 6,
    "groups_across_splits": 3,
    "files_across_splits": 6,
    "groups_with_several_labels": 0,
    "files_with_several_labels": 0,
    "leaked": {"valid": 3, "test": 0},
    "dropped": {},
}


@pytest.fixture(scope="module")
def other(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with another name, every class but the last a suspicious one, a threshold out of reach, and leaks."""
    made = onnx.load(model)
    (text,) = (item.value for item in made.metadata_props if item.key == METADATA_KEY)
    spec = ModelSpec.from_json(text)
    assert spec.operating_point is not None
    point = replace(spec.operating_point, threshold=NEVER, positive=spec.classes[:-1])
    valid = spec.metrics["valid"]
    metrics = {**spec.metrics, "valid": {**valid, "macro": {**valid["macro"], "auroc": None}}}  # as without a class
    data = {**spec.data, "leaks": LEAKED}
    spec = replace(spec, name="second", synthetic=False, operating_point=point, data=data, metrics=metrics)
    onnx.helper.set_model_props(made, {METADATA_KEY: spec.to_json()})
    file = tmp_path_factory.mktemp("other") / model.name
    onnx.save(made, file)
    return file


def test_caution_stands_in_the_row_and_in_the_sum(page: Page, images: list[Path], blank: Path) -> None:
    told = "Caution: the image is blank: one value everywhere"
    page.give(blank)
    page.answered(1)
    assert page.js("announcement.textContent").endswith(f". {told}")
    assert page[".notes use"].get_attribute("href") == "#icon-caution"
    assert f"{told}." in page["#notes"].text
    page.give(images[0])
    page.answered(2)
    assert [row.text for row in page.all(".notes")] == [told, ""]
    page.until(lambda: page["#summary"].text.endswith(" · 1 with a caution"))
    shown = [item.is_displayed() for item in page.all("#scans > li")]
    Select(page["#filter"]).select_by_visible_text("with a caution")
    page.until(lambda: [item.is_displayed() for item in page.all("#scans > li")] == [True] + [False] * (len(shown) - 1))
    Select(page["#filter"]).select_by_visible_text("all")
    page.all(".open")[1].click()
    assert "Caution" not in page["#notes"].text
    page.all(".remove")[0].click()
    page.until(lambda: "caution" not in page["#summary"].text)


def test_model_that_answers_now_is_shown_and_earlier_answers_keep_what_they_were_judged_by(
    browser: Chrome, model: Path, other: Path, images: list[Path]
) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.give(images[0])
        page.answered(1)
        before = {name: page[f"#{name}"].text for name in ("verdict", "sum", "threshold", "summed")}
        assert page["#model-line"].text.startswith("tiny · fp32 · ")
    with serving(other, port=int(urlsplit(address).port or 0)) as again:
        assert again == address
        page.give(images[1])
        page.answered(2)
        assert page["#model-line"].text.startswith("second · fp32 · ")
        told = "Answered by an earlier model: tiny · fp32"
        assert [row.text for row in page.all(".notes")] == [told, ""]
        assert page[".notes use"].get_attribute("href") == "#icon-earlier"
        assert told in page["#notes"].text
        assert page.complaints() == []
        assert {name: page[f"#{name}"].text for name in before} == before
        page.all(".open")[1].click()
        assert page["#threshold"].text == "> 99.99 %"
        assert told not in page["#notes"].text
        page["#about"].click()
        terms = page.js("[...document.querySelectorAll('#facts-list dt')].map((term) => term.textContent)")
        assert len(terms) == len(set(terms))
        measured = [row for row in page["#facts"].text.splitlines() if row.startswith("Accuracy")]
        assert ["macro AUROC" in row for row in measured] == [True, False]
        leaks = describe_leakage({"images": {"valid": {"all": 8}}, "leaks": LEAKED})
        assert f"Leaks\n{leaks}." in page["#facts"].text
        fitted = r"^Caveats\n.*The operating point was fitted on 6 suspicious images, "
        assert re.search(fitted, page["#facts"].text, re.MULTILINE)
        page.close()
        page.browser.get("about:blank")


def test_model_is_asked_for_again_when_the_server_comes_back(
    browser: Chrome, model: Path, other: Path, images: list[Path], corrupt: Path
) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.expected = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
        page.give(images[0])
        page.answered(1)
    page.give(corrupt)  # no model answers for it
    page.until(lambda: page["#trouble"].is_displayed())
    with serving(other, port=int(urlsplit(address).port or 0)):
        page.answered(2)
        assert page["#model-line"].text.startswith("second · fp32 · ")
        page.close()
        page.browser.get("about:blank")


def test_facts_are_those_of_the_model_that_answers_when_they_are_opened(
    browser: Chrome, model: Path, other: Path
) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.until(lambda: page["#model-line"].text.startswith("tiny · "))
    with serving(other, port=int(urlsplit(address).port or 0)):
        page["#about"].click()
        page.until(lambda: page["#facts"].text.startswith("About the model\nModel\nsecond, model.fp32"))
        page.close()
        page.browser.get("about:blank")


def test_model_of_phantoms_is_told_of_above_everything(browser: Chrome, model: Path, other: Path) -> None:
    sentence = "This model was trained on synthetic phantoms: its answers mean nothing for patients."
    with serving(model) as address:
        page = Page(browser, address)
        page.until(lambda: page["#synthetic"].text == sentence)
    with serving(other, port=int(urlsplit(address).port or 0)):  # which was trained on scans
        page["#about"].click()
        page.until(lambda: not page["#synthetic"].is_displayed())
        page.close()
        page.browser.get("about:blank")


def test_suspicious_class_below_the_operating_point_is_no_green_answer(
    browser: Chrome, other: Path, images: list[Path]
) -> None:
    with serving(other) as address:
        page = Page(browser, address)
        page.give(*images)
        page.answered(len(images))
        assert set(page.states()) <= set(VERDICTS)
        place = page.states().index("below")
        if place:  # the first one is open
            page.all(".open")[place].click()
        label = page["#bars th"].text
        assert page["#verdict"].text == "Not suspicious"
        assert page["#notes"].text == (
            f"The most probable, {label}, is a suspicious class, but the sum stays below the operating point."
        )
        assert page.js("getComputedStyle(verdict).color === getComputedStyle(document.body).color")
        assert page["#verdict use"].get_attribute("href") == "#icon-below"
        assert page.complaints() == []
        page.close()
        page.browser.get("about:blank")


def test_page_of_a_server_without_pydicom_says_how_to_get_dicom(browser: Chrome, model: Path, stack: Path) -> None:
    get = 'pip install "ctonnx[dicom]"'
    with serving(model, before="sys.modules['pydicom'] = None") as address:
        page = Page(browser, address)
        page.until(lambda: get in page["#terms"].text)
        assert (
            f"each. Not DICOM: for that, run {get} where the server runs, and start it again. Scans"
            in page["#terms"].text
        )
        page["#about"].click()
        page.until(lambda: get in page["#facts"].text)
        page["#facts button"].click()
        page.give(stack)
        page.answered(1)
        assert page["#problem"].text == f"A DICOM file, which needs pydicom; {get}."
        assert page.complaints() == []
        page.close()
        page.browser.get("about:blank")


def test_page_of_a_server_with_pydicom_names_dicom_among_the_formats(page: Page) -> None:
    page.until(lambda: "DICOM, up to" in page["#terms"].text)
    assert "pip install" not in page["#terms"].text
