"""The page and its model: facts, operating point, warnings, and a change of the model."""

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


def test_warning_is_in_the_row_and_in_the_summary(page: Page, images: list[Path], blank: Path) -> None:
    note, reason = "Warning: the image is blank: one value everywhere", "the image is blank: one value everywhere"
    page.give(blank)
    page.finished(1)
    assert page.js("announcement.textContent").endswith(f". {note}")
    assert page[".status"].text == "Refer: the image is blank"
    assert page["#reason"].text == f"T{reason[1:]}."
    page.give(images[0])
    page.finished(2)
    page.until(lambda: page["#summary"].text.endswith(" · 1 with a warning"))
    shown = [item.is_displayed() for item in page.all("#scans > li")]
    Select(page["#filter"]).select_by_visible_text("with a warning")
    page.until(lambda: [item.is_displayed() for item in page.all("#scans > li")] == [True] + [False] * (len(shown) - 1))
    assert not page["#nothing"].is_displayed()
    Select(page["#filter"]).select_by_visible_text("all")
    page.all(".open")[1].click()
    assert "Warning" not in page["#notes"].text
    page.all(".remove")[0].click()
    page.until(lambda: "warning" not in page["#summary"].text)


def test_current_model_is_shown_and_earlier_results_keep_their_operating_point(
    browser: Chrome, model: Path, other: Path, images: list[Path]
) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.give(images[0])
        page.finished(1)
        before = {name: page[f"#{name}"].text for name in ("verdict", "sum", "threshold", "summed")}
        assert page["#model-line"].text.startswith("tiny · fp32 · ")
    with serving(other, port=int(urlsplit(address).port or 0)) as again:
        assert again == address
        page.give(images[1])
        page.finished(2)
        assert page["#model-line"].text.startswith("second · fp32 · ")
        note = "Classified by an earlier model: tiny · fp32"
        assert [row.text for row in page.all(".notes")] == [note, ""]
        assert page[".notes use"].get_attribute("href") == "#icon-earlier"
        assert note in page["#notes"].text
        assert page.complaints() == []
        assert {name: page[f"#{name}"].text for name in before} == before
        page.all(".open")[1].click()
        assert page["#threshold"].text == "> 99.99 %"
        assert note not in page["#notes"].text
        page["#about"].click()
        terms = page.js("[...document.querySelectorAll('#facts-list dt')].map((term) => term.textContent)")
        assert len(terms) == len(set(terms))
        measured = [row for row in page["#facts"].text.splitlines() if row.startswith("Accuracy")]
        assert ["macro AUROC" in row for row in measured] == [True, False]
        leaks = describe_leakage({"images": {"valid": {"all": 8}}, "leaks": LEAKED})
        assert f"Leakage\n{leaks}." in page["#facts"].text
        fitted = r"^(Caveats\n)?The operating point was fitted on 6 suspicious images, "
        assert re.search(fitted, page["#facts"].text, re.MULTILINE)
        page.close()
        page.browser.get("about:blank")


def test_model_is_loaded_again_after_the_server_was_unavailable(
    browser: Chrome, model: Path, other: Path, images: list[Path], corrupt: Path
) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.expected = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
        page.give(images[0])
        page.finished(1)
    page.give(corrupt)  # without a model
    page.until(lambda: page["#trouble"].is_displayed())
    with serving(other, port=int(urlsplit(address).port or 0)):
        page.finished(2)
        assert page["#model-line"].text.startswith("second · fp32 · ")
        page.close()
        page.browser.get("about:blank")


def test_facts_are_those_of_the_current_model(browser: Chrome, model: Path, other: Path) -> None:
    with serving(model) as address:
        page = Page(browser, address)
        page.until(lambda: page["#model-line"].text.startswith("tiny · "))
    with serving(other, port=int(urlsplit(address).port or 0)):
        page["#about"].click()
        page.until(lambda: page["#facts"].text.startswith("About the model\nModel\nsecond, model.fp32"))
        page.close()
        page.browser.get("about:blank")


def test_model_of_phantoms_has_a_notice_at_the_top(browser: Chrome, model: Path, other: Path) -> None:
    sentence = "This model was trained on synthetic phantoms: its predictions have no clinical meaning."
    with serving(model) as address:
        page = Page(browser, address)
        page.until(lambda: page["#synthetic"].text == sentence)
    with serving(other, port=int(urlsplit(address).port or 0)):  # trained on scans
        page["#about"].click()
        page.until(lambda: not page["#synthetic"].is_displayed())
        page.close()
        page.browser.get("about:blank")


def test_suspicious_class_below_the_operating_point_is_not_green(
    browser: Chrome, other: Path, images: list[Path]
) -> None:
    with serving(other) as address:
        page = Page(browser, address)
        page.give(*images)
        page.finished(len(images))
        assert set(page.states()) <= set(VERDICTS)
        place = page.states().index("below")
        if place:  # the first one is open
            page.all(".open")[place].click()
        label = page["#bars th"].text
        assert page["#verdict"].text == "Not suspicious"
        assert page["#notes"].text == (
            f"The predicted class, {label}, is a suspicious class, but the sum is below the threshold."
        )
        assert page.js("getComputedStyle(verdict).color === getComputedStyle(document.body).color")
        assert page["#verdict use"].get_attribute("href") == "#icon-below"
        assert page.complaints() == []
        page.close()
        page.browser.get("about:blank")


def test_page_of_a_server_without_pydicom_names_the_extra(browser: Chrome, model: Path, stack: Path) -> None:
    get = 'pip install "ctonnx[dicom]"'
    with serving(model, before="sys.modules['pydicom'] = None") as address:
        page = Page(browser, address)
        page.until(lambda: get in page["#terms"].text)
        assert f"each. DICOM is not supported: run {get} on the server and restart it. Scans" in page["#terms"].text
        page["#about"].click()
        page.until(lambda: get in page["#facts"].text)
        page["#facts button"].click()
        page.give(stack)
        page.finished(1)
        assert page["#problem"].text == f"A DICOM file, which needs pydicom; {get}."
        assert page.complaints() == []
        page.close()
        page.browser.get("about:blank")


def test_page_of_a_server_with_pydicom_lists_dicom(page: Page) -> None:
    page.until(lambda: "DICOM, up to" in page["#terms"].text)
    assert "pip install" not in page["#terms"].text
