"""Fixtures of the page's tests: a real browser, on a real server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec

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
PATIENCE = 20  # seconds, for a busy machine
VERDICTS = ("suspicious", "below", "clear", "refer")
"""States of a row with a result of a model with an operating point."""

COUNTING = """
    const [ask, make, free] = [fetch, URL.createObjectURL, URL.revokeObjectURL];
    window.seen = { now: 0, most: 0, sent: 0, addresses: new Set() };
    window.fetch = async (path, options) => {
        if (!path.includes("classify")) return ask(path, options);
        seen.sent += 1;
        seen.most = Math.max(seen.most, (seen.now += 1));
        try { return (await window.pretend?.(options)) ?? (await ask(path, options)); } finally { seen.now -= 1; }
    };
    URL.createObjectURL = (data) => { const one = make.call(URL, data); seen.addresses.add(one); return one; };
    URL.revokeObjectURL = (address) => { seen.addresses.delete(address); free.call(URL, address); };
"""


@contextmanager
def serving(model: Path, *options: str, port: int = 0, before: str = "pass") -> Iterator[str]:
    """Runs a statement and then `ctonnx serve` on a port, 0 for a free one, and yields the page's address."""
    words = ["serve", "--model", str(model), "--port", str(port), "--threads", "1", *options]
    start = f"import sys; {before}; from ctonnx.__main__ import run; run()"
    command = [sys.executable, "-c", start, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log = []
            for line in process.stderr:
                log.append(line)
                if line.startswith("serving: "):
                    break
            else:
                pytest.fail(f"the server did not start: {log}")
            yield log[-1].removeprefix("serving: ").strip() + "/"
        finally:
            process.terminate()
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model without prediction sets, for which no image is novel: its operating point and warnings decide."""
    made = onnx.load(model)
    (text,) = (item.value for item in made.metadata_props if item.key == METADATA_KEY)
    spec = ModelSpec.from_json(text)
    spec = replace(spec, prediction_sets=None, novelty=spec.novelty and replace(spec.novelty, threshold=1e30))
    onnx.helper.set_model_props(made, {METADATA_KEY: spec.to_json()})
    file = tmp_path_factory.mktemp("pointed") / model.name
    onnx.save(made, file)
    return file


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[str]:
    with serving(model) as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Headless Chromium; the process and its profile are removed at the end."""
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
    """The page, opened for one test."""

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
        """Opens the page again, and runs a script before the page's own."""
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

    def finished(self, count: int) -> None:
        def done() -> bool:
            states = self.states()
            return len(states) == count and not {"waiting", "sending", "busy"} & set(states)

        self.until(done, f"expected {count} results")

    def complaints(self) -> list[str]:
        """Returns violations of WCAG 2.1 AA and of axe's best practices."""
        self.browser.execute_script((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
        found = self.browser.execute_async_script("axe.run().then(arguments[0])")
        return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Returns the log entries since the last call."""
        entries: list[dict[str, Any]] = self.browser.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
        return entries

    def press(self, *keys: str) -> str:
        """Types, and returns the id, or else the class, of the element that has the focus then."""
        ActionChains(self.browser).send_keys(*keys).perform()
        focus: str = self.js("document.activeElement.id || document.activeElement.className")
        return focus

    def close(self) -> None:
        for script in self.scripts:
            self.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        complaints = [entry["message"] for entry in self.log("browser")]
        assert [text for text in complaints if not any(known in text for known in self.expected)] == []
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        assert urls
        assert [url for url in urls if not url.startswith((self.address, "blob:", "data:"))] == []


@pytest.fixture
def page(browser: Chrome, server: str) -> Iterator[Page]:
    """The page; at the end, the console must be empty and all requests must have gone to its server."""
    page = Page(browser, server)
    yield page
    page.close()


@pytest.fixture
def counted(page: Page) -> Page:
    """The page, with its requests and object addresses counted in `seen`."""
    page.open_after(COUNTING)
    return page


@pytest.fixture(scope="session")
def images(phantoms: Path) -> list[Path]:
    return sorted((phantoms / "test").rglob("*.png"))


@pytest.fixture(scope="session")
def corrupt(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corrupt") / "half a scan.png"
    content = images[0].read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("blank") / "blank.png"
    Image.new("L", (80, 80), 90).save(file)
    return file


@pytest.fixture(scope="session")
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
