"""The page and its server: two requests at a time, a full queue, a key, an unavailable server."""

from pathlib import Path

from selenium.webdriver import Chrome, Keys
from tests.runtime.server.page.conftest import VERDICTS, Page, serving

KEY = "letmein"


def test_many_scans_are_sent_two_at_a_time_and_released(counted: Page, images: list[Path]) -> None:
    many = (images * 10)[:24]
    counted.give(*many)
    counted.finished(24)
    assert counted.js("[seen.most, seen.sent, seen.now]") == [2, 24, 0]
    for row in counted.all(".open")[1:6]:
        row.click()
    assert counted.js("seen.addresses.size") == 2  # the open scan and its heatmap
    counted["#clear"].click()
    assert counted.js("seen.addresses.size") == 0
    counted.until(lambda: counted["h2"].is_displayed())
    assert counted.states() == []


def test_page_waits_for_a_full_queue(counted: Page, images: list[Path]) -> None:
    full = """new Response('{"error": "full"}', { status: 503, headers: { "Retry-After": "1" } })"""
    counted.js(f"window.pretend = () => {full}")
    counted.give(images[0])
    counted.until(lambda: counted[".status"].text == "Server busy, retrying soon")
    counted.js("delete window.pretend")
    counted.finished(1)
    assert counted.states()[0] in VERDICTS
    assert counted.js("seen.sent") > 1


def test_failed_request_can_be_tried_again(counted: Page, images: list[Path]) -> None:
    counted.js("window.pretend = () => { delete window.pretend; return new Response('late', { status: 504 }); }")
    counted.give(images[0])
    counted.finished(1)
    assert counted["#problem"].text == "The server responded with status 504."
    counted["#again"].click()
    counted.finished(1)
    assert counted.states()[0] in VERDICTS
    assert not counted["#again"].is_displayed()


def test_scan_in_progress_is_cancelled(counted: Page, images: list[Path]) -> None:
    counted.js("window.pretend = ({ signal }) => new Promise((_, no) => signal.addEventListener('abort', no))")
    counted.give(*images[:4])
    counted.until(lambda: counted.states() == ["sending", "sending", "waiting", "waiting"])
    counted.all(".remove")[3].click()
    counted.all(".remove")[0].click()
    counted.until(lambda: counted.states() == ["sending", "sending"])  # the third has its turn
    counted["#clear"].click()
    counted.js("delete window.pretend")
    assert counted.states() == []
    counted.give(images[0])
    counted.finished(1)


def test_page_reports_an_unavailable_server_and_waits(page: Page, images: list[Path]) -> None:
    page.expected = ("ERR_INTERNET_DISCONNECTED",)
    page.until(lambda: page["#about"].is_enabled())
    network = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    page.give(images[0])
    page.until(lambda: page["#trouble"].text.startswith("The server does not respond."))
    page.until(lambda: page.states() == ["waiting"])
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network | {"offline": False})
    page.finished(1)
    assert page.states()[0] in VERDICTS
    assert not page["#trouble"].is_displayed()


def test_key_is_prompted_for_and_not_stored(browser: Chrome, model: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY, encoding="utf-8")
    with serving(model, "--api-key-file", str(tmp_path / "key")) as address:
        page = Page(browser, address)
        page.expected = ("401 (Unauthorized)",)
        page.until(lambda: page["#key-prompt"].is_displayed())
        assert not page["#key-problem"].is_displayed()
        page.press("wrong", Keys.ENTER)
        page.until(lambda: page["#key-problem"].is_displayed())
        page.press(KEY, Keys.ENTER)
        page.until(lambda: page["#about"].is_enabled())
        assert not page["#key-prompt"].is_displayed()
        page.give(images[0])
        page.finished(1)
        assert page.states()[0] in VERDICTS
        assert page.js("[localStorage.length, sessionStorage.length, document.cookie, location.href]") == [
            0,
            0,
            "",
            address,
        ]
        page.close()
        page.browser.get("about:blank")
