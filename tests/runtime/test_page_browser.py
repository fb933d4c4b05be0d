"""The page of `ctonnx serve` in a real browser, on a real server: what a person sees, hears and types."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

FOLDER = Path(__file__).parents[2] / "runtime/ctonnx/server/page"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE = 20  # seconds, on a machine that does other things too
KEY = "letmein"
COUNTING = """
    const [ask, make, free] = [fetch, URL.createObjectURL, URL.revokeObjectURL];
    window.seen = { now: 0, most: 0, asked: 0, addresses: new Set() };
    window.fetch = async (path, options) => {
        if (!path.includes("classify")) return ask(path, options);
        seen.asked += 1;
        seen.most = Math.max(seen.most, (seen.now += 1));
        try { return (await window.pretend?.(options)) ?? (await ask(path, options)); } finally { seen.now -= 1; }
    };
    URL.createObjectURL = (data) => { const one = make.call(URL, data); seen.addresses.add(one); return one; };
    URL.revokeObjectURL = (address) => { seen.addresses.delete(address); free.call(URL, address); };
"""

TOO_FAR_RIGHT = """
    [...document.querySelectorAll("main *")]
        .filter((one) => one.checkVisibility())
        .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
        .map((one) => one.outerHTML)
"""

WITHOUT_POINT = """
    const before = Response.prototype.json;
    Response.prototype.json = async function () {
        const answer = await before.call(this);
        if ("operating_point" in answer) answer.operating_point = null;
        for (const one of answer.results ?? []) one.suspicious = null;
        return answer;
    };
"""


@contextmanager
def serving(model: Path, *options: str) -> Iterator[str]:
    """Runs `ctonnx serve` on a free port, and yields the page's address."""
    command = [
        sys.executable,
        "-m",
        "ctonnx",
        "serve",
        "--model",
        str(model),
        "--port",
        "0",
        "--threads",
        "1",
        *options,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith("serving: "):
                    break
            else:
                pytest.fail(f"the server did not start: {said}")
            yield said[-1].removeprefix("serving: ").strip() + "/"
        finally:
            process.terminate()
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    with serving(model) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Headless Chromium; it and its profile are gone afterwards, whatever happens."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver on the PATH: apt-get install chromium chromium-driver")
    profile = tmp_path_factory.mktemp("chromium")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(DRIVER)
    started: list[psutil.Process] = []
    try:
        chrome = Chrome(options=options, service=service)
        try:
            started = psutil.Process(service.process.pid).children(recursive=True)
            yield chrome
        finally:
            chrome.quit()
    finally:
        service.stop()
        for process in psutil.wait_procs(started, timeout=5)[1]:
            process.kill()
        shutil.rmtree(profile, ignore_errors=True)


class Page:
    """The page as it is opened for one test."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser, self.address = browser, address
        self.expected: tuple[str, ...] = ()
        self.scripts: list[dict[str, str]] = []
        self.look("light")
        self.resize(1280, 800)
        self.log("browser")
        self.log("performance")
        self.open()

    def open(self) -> None:
        self.browser.get(self.address)

    def open_after(self, script: str) -> None:
        """Opens the page anew, with a script of the test's run before its own."""
        added = self.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        self.scripts.append(added)
        self.open()

    def look(self, scheme: str, motion: str = "no-preference") -> None:
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        media = [{"name": name, "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def __getitem__(self, selector: str) -> WebElement:
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements("css selector", selector)

    def js(self, script: str, *values: Any) -> Any:
        return self.browser.execute_script(f"return {script.strip()}", *values)

    def until(self, condition: Callable[[], Any], hint: str = "") -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition(), hint)

    def give(self, *paths: Path) -> None:
        self["#files"].send_keys("\n".join(map(str, paths)))

    def states(self) -> list[str]:
        states: list[str] = self.js("[...document.querySelectorAll('#scans > li')].map((row) => row.dataset.state)")
        return states

    def names(self) -> list[str]:
        names: list[str] = self.js("[...document.querySelectorAll('.name')].map((name) => name.textContent)")
        return names

    def answered(self, count: int) -> None:
        def done() -> bool:
            states = self.states()
            return len(states) == count and not {"waiting", "sending", "busy"} & set(states)

        self.until(done, f"expected {count} answers")

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Returns what was logged since the last time."""
        entries: list[dict[str, Any]] = self.browser.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
        return entries

    def press(self, *keys: str) -> str:
        """Types, and returns what has the focus then: its id, else its class."""
        ActionChains(self.browser).send_keys(*keys).perform()
        focus: str = self.js("document.activeElement.id || document.activeElement.className")
        return focus

    def close(self) -> None:
        for script in self.scripts:
            self.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        complaints = [entry["message"] for entry in self.log("browser")]
        assert [text for text in complaints if not any(known in text for known in self.expected)] == []
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        assert asked
        assert [url for url in asked if not url.startswith((self.address, "blob:", "data:"))] == []


@pytest.fixture
def page(browser: Chrome, server: str) -> Iterator[Page]:
    """The page, which at the end has said nothing on the console and asked nobody but its server."""
    page = Page(browser, server)
    yield page
    page.close()


@pytest.fixture
def counted(page: Page) -> Page:
    """The page, with its requests and object addresses counted in `seen`."""
    page.open_after(COUNTING)
    return page


@pytest.fixture(scope="module")
def images(phantoms: Path) -> list[Path]:
    return sorted((phantoms / "test").rglob("*.png"))


@pytest.fixture(scope="module")
def corrupt(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corrupt") / "half a scan.png"
    content = images[0].read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM file with three frames."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation = "CT", "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 3, 60, 80, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    frames = np.random.default_rng(0).integers(-1000, 500, (3, 60, 80), dtype=np.int16)
    dataset.PixelData = frames.tobytes()
    dataset["PixelData"].VR = "OW"
    file = tmp_path_factory.mktemp("stack") / "IM0001"
    dataset.save_as(file, enforce_file_format=True)
    return file


def test_page_needs_nothing_from_elsewhere_and_keeps_to_its_policy() -> None:
    html, css, script, icon = (
        (FOLDER / name).read_text("utf-8") for name in ("index.html", "page.css", "page.js", "icon.svg")
    )
    for text in (html, css, script, icon):
        assert not re.search(r"(?:https?:)?//[a-z0-9]", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"@import|url\(", css)
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?! type=\"module\" src=\"page.js\"></script>)", html)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|Storage\b|cookie", script)


def test_every_part_that_the_script_names_is_in_the_page() -> None:
    html, script = (FOLDER / "index.html").read_text("utf-8"), (FOLDER / "page.js").read_text("utf-8")
    named = set(re.findall(r"(?:\$|part|copyOf)\(\"([a-z-]+)\"\)", script))
    found = re.findall(r"\bid=\"([a-z-]+)\"", html)
    assert named > {"scans", "scan", "row-template"}
    assert named - set(found) == set()
    assert len(found) == len(set(found))


def test_scan_is_answered_in_its_place(page: Page, images: list[Path]) -> None:
    assert page["h2"].text == "Drop CT scans here"
    page.give(images[0])
    page.answered(1)
    assert page.states()[0] in ("suspicious", "clear")
    assert page["#viewer-name"].text == page.names()[0] == images[0].name
    assert page["#verdict"].text == page[".said"].text
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
    took = r"Answered in \d+ ms; \d+ ms from sending the file \(\d+ kB\) to its answer\."
    assert re.fullmatch(took, page["#details"].text)
    assert page.js("announcement.textContent").startswith(f"{images[0].name}: ")


def test_heatmap_is_switched_and_its_opacity_changed(page: Page, images: list[Path]) -> None:
    page.give(images[0])
    page.answered(1)
    opacity = "getComputedStyle(heat).opacity"
    assert page.js(opacity) == "0.4"
    page["#heat-on"].click()
    assert page.js(opacity) == "0"
    assert not page["#opacity"].is_enabled()
    page["#heat-on"].click()
    page["#opacity"].send_keys(Keys.END)
    assert page.js(opacity) == "1"
    assert page["#opacity-said"].text == "100 %"
    page.give(images[1])
    page.answered(2)
    page.all(".open")[1].click()
    assert page.js(opacity) == "1"  # it stays as it was set


def test_picture_is_enlarged_around_its_middle(page: Page, images: list[Path]) -> None:
    page.give(images[0])
    page.answered(1)
    page["#zoom"].send_keys(Keys.END)
    assert page["#zoom-said"].text == "400 %"
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
    assert page["#zoom-said"].text == "100 %"


def test_corrupt_file_says_so_in_its_row_and_the_others_go_on(page: Page, images: list[Path], corrupt: Path) -> None:
    page.give(images[0], corrupt, images[1], images[2])
    page.answered(4)
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


def test_files_folders_and_pictures_are_dropped_and_pasted(page: Page, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "study/series").mkdir(parents=True)
    shutil.copy(images[1], tmp_path / "study/series/IM1")
    (tmp_path / "study/.DS_Store").write_bytes(b"litter")
    for paths in ([images[0]], [tmp_path / "study"]):
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            page.browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
            assert page.js("document.body.classList.contains('dragging')") == (kind == "dragOver")
        page.until(lambda: page.states())
    page.answered(2)
    page.browser.execute_script(
        "const data = new DataTransfer();"
        "data.items.add(new File([Uint8Array.from(arguments[0])], 'image.png', { type: 'image/png' }));"
        "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }));",
        list(images[2].read_bytes()),
    )
    page.answered(3)
    assert page.names() == [images[0].name, "IM1", "image.png"]
    assert "failed" not in page.states()


def test_frames_of_a_dicom_file_are_looked_through(page: Page, stack: Path) -> None:
    page.give(stack)
    page.answered(1)
    assert re.match(r"\d of 3 frames · ", page[".most"].text)
    assert page["#frame-tool"].is_displayed()
    page["#frame"].send_keys(Keys.HOME)
    assert page["#frame-said"].text == "1 of 3"
    first = page.js("scan.src")
    page["#frame"].send_keys(Keys.ARROW_RIGHT)
    assert page["#frame-said"].text == "2 of 3"
    assert page.js("scan.src") != first
    page.until(lambda: page.js("[scan.naturalWidth, scan.naturalHeight]") == [80, 60])


def test_keyboard_is_enough(page: Page, images: list[Path]) -> None:
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
    page.answered(3)
    assert page.js("document.activeElement.id") == "choose"
    assert [page.press(Keys.TAB) for _ in range(5)] == ["choose-folder", "filter", "clear", "open", "remove"]
    assert [page.press(Keys.TAB) for _ in range(3)] == ["stack", "zoom", "heat-on"]
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(Keys.SPACE)
    assert page.js("heat.style.opacity") == "0"
    page.press(Keys.SPACE)
    assert page.press(Keys.TAB) == "opacity"
    page.press(Keys.ARROW_RIGHT)
    assert page["#opacity-said"].text == "45 %"
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
def test_layouts_fit_and_can_be_read_by_everybody(
    page: Page, images: list[Path], corrupt: Path, scheme: str, tmp_path: Path
) -> None:
    long = tmp_path / f"{'1.2.840.113619.' * 8}77.png"  # as DICOM systems name them
    shutil.copy(images[0], long)
    page.look(scheme)
    page.browser.execute_script((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    page.until(lambda: page["#about"].is_enabled())
    assert complaints(page) == []
    page.give(long, corrupt, images[1])
    page.answered(3)
    red, green, blue = page.js("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (max(red, green, blue) < 64) == (scheme == "dark")
    for width, height in ((1440, 900), (900, 700), (360, 740)):
        page.resize(width, height)
        assert page.js("document.documentElement.scrollWidth") <= width
        assert page.js(TOO_FAR_RIGHT) == []
        assert page["#stack"].size["height"] >= 300
        picture, answer = page["#picture"].rect, page["#answer"].rect
        assert picture["x"] + picture["width"] <= answer["x"] or picture["y"] + picture["height"] <= answer["y"]
        assert complaints(page) == []
    page.all(".open")[2].click()  # below the first one's viewer, which goes
    assert -1 <= page.js("document.activeElement.getBoundingClientRect().top") < height
    assert page["#viewer-name"].text == images[1].name
    page.all(".open")[1].click()
    page["#about"].click()
    assert complaints(page) == []


def complaints(page: Page) -> list[str]:
    """Returns what axe finds against WCAG 2.1 AA and its own best practices."""
    found = page.browser.execute_async_script("axe.run().then(arguments[0])")
    return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


def test_reduced_motion_is_kept_to(page: Page) -> None:
    moving = "getComputedStyle(document.querySelector('#scans .icon')).animationName"
    page.js("document.querySelector('#scans').append(document.querySelector('#row-template').content.cloneNode(true))")
    page.js("document.querySelector('#scans > li').dataset.state = 'sending'")
    assert page.js(moving) == "turn"
    page.look("light", motion="reduce")
    assert page.js(moving) == "none"


def test_many_scans_go_two_at_a_time_and_leave_nothing_behind(counted: Page, images: list[Path]) -> None:
    many = (images * 10)[:24]
    counted.give(*many)
    counted.answered(24)
    assert counted.js("[seen.most, seen.asked, seen.now]") == [2, 24, 0]
    for row in counted.all(".open")[1:6]:
        row.click()
    assert counted.js("seen.addresses.size") == 2  # the open scan and its heatmap
    counted["#clear"].click()
    assert counted.js("seen.addresses.size") == 0
    counted.until(lambda: counted["h2"].is_displayed())
    assert counted.states() == []


def test_full_queue_is_waited_for(counted: Page, images: list[Path]) -> None:
    full = """new Response('{"error": "full"}', { status: 503, headers: { "Retry-After": "1" } })"""
    counted.js(f"window.pretend = () => {full}")
    counted.give(images[0])
    counted.until(lambda: counted[".said"].text == "Server busy, next try soon")
    counted.js("delete window.pretend")
    counted.answered(1)
    assert counted.states()[0] in ("suspicious", "clear")
    assert counted.js("seen.asked") > 1


def test_what_failed_on_the_way_is_tried_again(counted: Page, images: list[Path]) -> None:
    counted.js("window.pretend = () => { delete window.pretend; return new Response('late', { status: 504 }); }")
    counted.give(images[0])
    counted.answered(1)
    assert counted["#problem"].text == "The server answered with status 504."
    counted["#again"].click()
    counted.answered(1)
    assert counted.states()[0] in ("suspicious", "clear")
    assert not counted["#again"].is_displayed()


def test_frame_that_cannot_be_read_stands_among_the_others(counted: Page, stack: Path) -> None:
    good = {"frame": 1, "label": "normal", "probability": 0.75, "probabilities": {"normal": 0.75, "nodule": 0.25}}
    good |= {"suspicious": False, "error": None, "milliseconds": 1.5, "heatmap": None, "scan": None}
    bad = dict.fromkeys(good) | {"frame": 0, "error": "no pixels <b>here</b>", "probabilities": {}}
    counted.js(f"window.pretend = () => Response.json({json.dumps({'results': [bad, good]})})")
    counted.give(stack)
    counted.answered(1)
    assert counted[".most"].text == "0 of 2 frames · 75.0 % normal"
    assert counted["#frame-said"].text == "2 of 2"
    counted["#frame"].send_keys(Keys.HOME)
    assert counted["#verdict"].text == "Not read"
    assert counted["#problem"].text == "No pixels <b>here</b>."
    assert not counted["#again"].is_displayed()


def test_model_without_an_operating_point_calls_nothing_suspicious(page: Page, images: list[Path]) -> None:
    page.open_after(WITHOUT_POINT)
    page.give(images[0])
    page.answered(1)
    assert page.states() == ["answered"]
    assert page["#verdict"].text == page["#bars th"].text
    assert not page["#compared"].is_displayed()
    assert page["#summary"].text == "1 scan"
    page["#about"].click()
    assert "None: this model calls no scan suspicious." in page["#facts"].text


def test_scan_under_way_is_cancelled(counted: Page, images: list[Path]) -> None:
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
    counted.answered(1)


def test_server_that_is_gone_is_said_and_waited_for(page: Page, images: list[Path]) -> None:
    page.expected = ("ERR_INTERNET_DISCONNECTED",)
    page.until(lambda: page["#about"].is_enabled())
    network = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    page.give(images[0])
    page.until(lambda: page["#trouble"].text.startswith("The server does not answer."))
    page.until(lambda: page.states() == ["waiting"])
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network | {"offline": False})
    page.answered(1)
    assert page.states()[0] in ("suspicious", "clear")
    assert not page["#trouble"].is_displayed()


def test_key_is_asked_for_and_kept_in_no_storage(
    browser: Chrome, model: Path, images: list[Path], tmp_path: Path
) -> None:
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
        page.answered(1)
        assert page.states()[0] in ("suspicious", "clear")
        assert page.js("[localStorage.length, sessionStorage.length, document.cookie, location.href]") == [
            0,
            0,
            "",
            address,
        ]
        page.close()
        page.browser.get("about:blank")
