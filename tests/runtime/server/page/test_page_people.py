"""Accessibility of the page: mouse, keyboard, screen readers, narrow screens, light and dark."""

import shutil
from pathlib import Path

import pytest
from selenium.webdriver import Keys
from tests.runtime.server.page.conftest import Page

TOO_FAR_RIGHT = """
    [...document.querySelectorAll("main *")]
        .filter((one) => one.checkVisibility())
        .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
        .map((one) => one.outerHTML)
"""


def test_files_folders_and_images_are_dropped_and_pasted(page: Page, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "study/series").mkdir(parents=True)
    shutil.copy(images[1], tmp_path / "study/series/IM1")
    (tmp_path / "study/.DS_Store").write_bytes(b"skipped")
    (tmp_path / "study/autorun.inf").write_bytes(b"skipped")
    (tmp_path / "study/@eaDir").mkdir()
    shutil.copy(images[1], tmp_path / "study/@eaDir/IM2")
    for paths in ([images[0]], [tmp_path / "study"]):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            page.browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
            assert page.js("document.body.classList.contains('dragging')") == (kind == "dragOver")
        page.until(lambda: page.states())
    page.finished(2)
    page.browser.execute_script(
        "const data = new DataTransfer();"
        "data.items.add(new File([Uint8Array.from(arguments[0])], 'image.png', { type: 'image/png' }));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }));",
        list(images[2].read_bytes()),
    )
    page["#folder"].send_keys(str(tmp_path / "study"))
    page.finished(4)
    assert page.names() == [images[0].name, "IM1", "image.png", "IM1"]
    assert "failed" not in page.states()


def test_page_works_with_the_keyboard_only(page: Page, images: list[Path]) -> None:
    page.until(lambda: page["#about"].is_enabled())
    assert page.press(Keys.TAB) == "about"
    page.press(Keys.ENTER)
    assert page["#facts"].is_displayed()
    assert "Accuracy" in page["#facts"].text
    assert page.press(Keys.ESCAPE) == "about"
    assert not page["#facts"].is_displayed()
    assert page.press(Keys.TAB) == "choose"
    page.browser.execute_cdp_cmd("Page.setInterceptFileChooserDialog", {"enabled": True})
    page.js("document.querySelector('#files').addEventListener('click', () => { window.isChoosing = true; })")
    page.press(Keys.ENTER)
    assert page.js("isChoosing")
    page.browser.execute_cdp_cmd("Page.setInterceptFileChooserDialog", {"enabled": False})
    page.give(*images[:3])
    page.finished(3)
    assert page.js("document.activeElement.id") == "choose"
    assert [page.press(Keys.TAB) for _ in range(5)] == ["choose-folder", "filter", "clear", "open", "remove"]
    assert [page.press(Keys.TAB) for _ in range(3)] == ["stack", "zoom", "heat-on"]
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(Keys.SPACE)
    assert page.js("heat.style.opacity") == "0"
    page.press(Keys.SPACE)
    assert page.press(Keys.TAB) == "opacity"
    page.press(Keys.ARROW_RIGHT)
    assert page["#opacity-value"].text == "45 %"
    assert page.press(Keys.TAB) == "prediction"  # which scrolls
    assert page.press(Keys.TAB) == "open"  # of the second row
    page.press(Keys.ENTER)
    assert page["#viewer-name"].text == images[1].name
    assert [row.get_attribute("aria-expanded") for row in page.all(".open")] == ["false", "true", "false"]
    page.press(Keys.ARROW_DOWN)
    assert page.press(Keys.DELETE) == "open"
    assert page.names() == [images[0].name, images[1].name]
    page.press(Keys.HOME, Keys.TAB)
    assert page.js("document.activeElement.ariaLabel") == f"Remove {images[0].name}"
    page.press(Keys.ENTER)
    assert page.press(Keys.DELETE) == "choose"
    assert not page["#queue"].is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_layouts_fit_and_are_accessible(
    page: Page, images: list[Path], corrupt: Path, blank: Path, scheme: str, tmp_path: Path
) -> None:
    long = tmp_path / f"{'1.2.840.113619.' * 8}77.png"  # as DICOM systems name them
    shutil.copy(images[0], long)
    page.look(scheme)
    page.until(lambda: page["#about"].is_enabled())
    assert page.complaints() == []
    page.give(long, corrupt, images[1], blank)
    page.finished(4)
    red, green, blue = page.js("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (max(red, green, blue) < 64) == (scheme == "dark")
    for width, height in ((1440, 900), (900, 700), (360, 740)):
        page.resize(width, height)
        assert page.js("document.documentElement.scrollWidth") <= width
        assert page.js(TOO_FAR_RIGHT) == []
        assert page["#stack"].size["height"] >= 300
        picture, prediction = page["#picture"].rect, page["#prediction"].rect
        assert picture["x"] + picture["width"] <= prediction["x"] or picture["y"] + picture["height"] <= prediction["y"]
        assert page.complaints() == []
    page.all(".open")[2].click()  # below the viewer of the first one, which is removed
    assert -1 <= page.js("document.activeElement.getBoundingClientRect().top") < height
    assert page["#viewer-name"].text == images[1].name
    page.all(".open")[1].click()
    page["#about"].click()
    assert page.complaints() == []


def test_reduced_motion_is_respected(page: Page) -> None:
    moving = "getComputedStyle(document.querySelector('#scans .icon')).animationName"
    page.js("document.querySelector('#scans').append(document.querySelector('#row-template').content.cloneNode(true))")
    page.js("document.querySelector('#scans > li').dataset.state = 'sending'")
    assert page.js(moving) == "turn"
    page.look("light", motion="reduce")
    assert page.js(moving) == "none"
