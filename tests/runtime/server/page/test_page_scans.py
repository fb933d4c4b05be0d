"""Scans on the page: results, pictures, frames, files that cannot be read."""

import json
import re
from pathlib import Path

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.action_chains import ActionChains
from tests.runtime.server.page.conftest import VERDICTS, Page

from ctonnx.prediction import inputs

FOLDER = Path(__file__).parents[4] / "runtime/ctonnx/server/page"
WITHOUT_POINT = """
    const before = Response.prototype.json;
    Response.prototype.json = async function () {
        const answer = await before.call(this);
        if ("operating_point" in answer) answer.operating_point = null;
        if (answer.model) Object.assign(answer.model, { threshold: null, positive: [] });
        for (const one of answer.results ?? []) one.decision = one.suspicious = one.score = null;
        return answer;
    };
"""


def test_page_loads_nothing_from_other_hosts() -> None:
    html, css, script, icon = (
        (FOLDER / name).read_text("utf-8") for name in ("index.html", "page.css", "page.js", "icon.svg")
    )
    for text in (html, css, script, icon):
        assert not re.search(r"(?:https?:)?//[a-z0-9]", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"@import|url\(", css)
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?! type=\"module\" src=\"page.js\"></script>)", html)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|Storage\b|cookie", script)


def test_every_element_that_the_script_names_is_in_the_page() -> None:
    html, script = (FOLDER / "index.html").read_text("utf-8"), (FOLDER / "page.js").read_text("utf-8")
    named = set(re.findall(r"(?:\$|part|copyOf)\(\"([a-z-]+)\"\)", script))
    found = re.findall(r"\bid=\"([a-z-]+)\"", html)
    assert named > {"scans", "scan", "row-template"}
    assert named - set(found) == set()
    assert len(found) == len(set(found))


def test_page_skips_the_same_names_in_folders_as_the_command_line() -> None:
    script = (FOLDER / "page.js").read_text("utf-8")
    skipped = re.findall(r"^const SKIPPED_\w+ = /\^\(\\\.\.\*\|(.*)\)\$/i;$", script, re.MULTILINE)
    assert skipped == [value.pattern for value in vars(inputs).values() if isinstance(value, re.Pattern)]


def test_scan_is_classified_in_its_row(page: Page, images: list[Path]) -> None:
    assert page["h2"].text == "Drop CT scans here"
    page.give(images[0])
    page.finished(1)
    assert page.states()[0] in VERDICTS
    assert page["#viewer-name"].text == page.names()[0] == images[0].name
    assert page["#verdict"].text == page[".status"].text
    assert page["#verdict"].text in ("Suspicious", "Not suspicious")
    page.until(lambda: page.js("scan.naturalWidth") == 96)
    assert page.js("[heat.naturalWidth > 0, heat.naturalWidth / heat.naturalHeight]") == [True, 1]
    values = [float(cell.text.strip("<> %")) for cell in page.all("#bars .value")]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=0.3)
    widths = page.js("[...document.querySelectorAll('.track span')].map((bar) => bar.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    total, threshold = (float(page[name].text.strip("<> %")) for name in ("#sum", "#threshold"))
    assert (total >= threshold) == (page.states()[0] == "suspicious")
    took = r"Classified in \d+ ms; \d+ ms from sending the file \(\d+ kB\) to the result\."
    assert re.fullmatch(took, page["#details"].text)
    assert page.js("announcement.textContent").startswith(f"{images[0].name}: ")


def test_heatmap_can_be_switched_and_its_opacity_changed(page: Page, images: list[Path]) -> None:
    page.give(images[0])
    page.finished(1)
    opacity = "getComputedStyle(heat).opacity"
    assert page.js(opacity) == "0.4"
    page["#heat-on"].click()
    assert page.js(opacity) == "0"
    assert not page["#opacity"].is_enabled()
    page["#heat-on"].click()
    page["#opacity"].send_keys(Keys.END)
    assert page.js(opacity) == "1"
    assert page["#opacity-value"].text == "100 %"
    page.give(images[1])
    page.finished(2)
    page.all(".open")[1].click()
    assert page.js(opacity) == "1"  # the setting is kept


def test_picture_is_zoomed_around_its_center(page: Page, images: list[Path]) -> None:
    page.give(images[0])
    page.finished(1)
    page["#zoom"].send_keys(Keys.END)
    assert page["#zoom-value"].text == "400 %"
    layers, stack = page["#layers"].size, page.js("[stack.clientWidth, stack.clientHeight]")
    assert [layers["width"], layers["height"]] == pytest.approx([4 * side for side in stack], abs=2)
    left, top = page.js("[stack.scrollLeft, stack.scrollTop]")
    assert [left, top] == pytest.approx([1.5 * side for side in stack], abs=20)
    start = page["#stack"].rect
    ActionChains(page.browser).move_to_element(page["#stack"]).click_and_hold().move_by_offset(
        30, 20
    ).release().perform()
    assert page.js("[stack.scrollLeft, stack.scrollTop]") == pytest.approx([left - 30, top - 20], abs=2)
    assert page["#stack"].rect == start
    page.all(".open")[0].click()
    page.all(".open")[0].click()
    assert page["#zoom-value"].text == "100 %"


def test_corrupt_file_shows_its_error_and_the_others_continue(page: Page, images: list[Path], corrupt: Path) -> None:
    page.give(images[0], corrupt, images[1], images[2])
    page.finished(4)
    states = page.states()
    assert states[1] == "failed"
    assert "failed" not in (states[0], *states[2:])
    row = page.all("#scans > li")[1]
    assert row.text.splitlines() == ["half a scan.png", "Not read: damaged image: image file is truncated"]
    row.find_element("css selector", ".open").click()
    assert page["#problem"].text == "Damaged image: image file is truncated."
    assert not page["#bars"].is_displayed()
    assert not page["#heat-tools"].is_displayed()
    assert not page["#tools"].is_displayed()
    page.until(lambda: page["#summary"].text.endswith(" · 1 not read"))
    page.until(lambda: page.js("announcement.textContent") == page["#summary"].text)
    page["#filter"].send_keys("not read")
    page.until(lambda: [item.is_displayed() for item in page.all("#scans > li")] == [False, True, False, False])
    assert page["#viewer-name"].text == "half a scan.png"


def test_frames_of_a_dicom_file_are_browsed(page: Page, stack: Path) -> None:
    page.give(stack)
    page.finished(1)
    assert re.match(r"\d of 3 frames(, \d to refer)? · ", page[".result"].text)
    assert page["#frame-tool"].is_displayed()
    page["#frame"].send_keys(Keys.HOME)
    assert page["#frame-value"].text == "1 of 3"
    first = page.js("scan.src")
    page["#frame"].send_keys(Keys.ARROW_RIGHT)
    assert page["#frame-value"].text == "2 of 3"
    assert page.js("scan.src") != first
    page.until(lambda: page.js("[scan.naturalWidth, scan.naturalHeight]") == [80, 60])


def test_unreadable_frame_is_shown_among_the_others(counted: Page, stack: Path) -> None:
    good = {"frame": 1, "label": "normal", "probability": 0.75, "probabilities": {"normal": 0.75, "nodule": 0.25}}
    good |= {
        "decision": "negative",
        "reason": None,
        "set": None,
        "suspicious": False,
        "score": 0.25,
        "caution": "a localizer",
        "error": None,
        "milliseconds": 1.5,
    }
    good |= {"heatmap": None, "scan": None}
    bad = dict.fromkeys(good) | {"frame": 0, "error": "no pixels <b>here</b>", "probabilities": {}}
    counted.until(lambda: counted["#about"].is_enabled())
    model = counted.js("fetch('v1/model').then((answer) => answer.json())")
    answer = {"model": model | {"threshold": 0.5, "positive": ["nodule"]}, "results": [bad, good]}
    counted.js(f"window.pretend = () => Response.json({json.dumps(answer)})")
    counted.give(stack)
    counted.finished(1)
    assert counted[".result"].text == "0 of 2 frames · 75.0 % normal"
    assert counted[".notes"].text == "Warning: 1 of 2 frames"
    assert counted["#notes"].text == "Warning: a localizer."
    assert counted["#frame-value"].text == "2 of 2"
    counted["#frame"].send_keys(Keys.HOME)
    assert counted["#verdict"].text == "Not read"
    assert counted["#problem"].text == "No pixels <b>here</b>."
    assert not counted["#again"].is_displayed()


def test_model_without_an_operating_point_has_no_verdict(page: Page, images: list[Path]) -> None:
    page.open_after(WITHOUT_POINT)
    page.give(images[0])
    page.finished(1)
    assert page.states() == ["classified"]
    assert page["#verdict"].text == page["#bars th"].text
    assert not page["#compared"].is_displayed()
    assert page["#summary"].text == "1 scan"
    page["#about"].click()
    assert "None: this model does not classify scans as suspicious." in page["#facts"].text
