"""Makes README's pictures in docs/pictures from the phantoms and the run of `make demo`; Chromium has to be installed.

Run it by hand: `.venv/bin/python docs/make_pictures.py [FOLDER OF THE DEMO]`.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

PICTURES = Path(__file__).with_name("pictures")
CTONNX = [sys.executable, "-m", "ctonnx"]
WINDOW = (1200, 800)
WIDTH = 900  # of a picture in pixels; GitHub shows two beside each other in less
COLOURS = 200  # of a picture's palette, which keeps its file small


@contextmanager
def page(demo: Path) -> Iterator[Chrome]:
    """Yields a browser on the page of `ctonnx serve`."""
    options = ChromeOptions()
    options.binary_location = (
        shutil.which("chromium") or ""
    )  # without these two, Selenium looks for them in the network
    for argument in ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size={},{}".format(*WINDOW)):
        options.add_argument(argument)
    with subprocess.Popen([*CTONNX, "serve", "--port", "0"], cwd=demo, stderr=subprocess.PIPE, text=True) as server:
        address = next(line.split()[1] for line in server.stderr or () if line.startswith("serving: "))
        browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": WINDOW[0], "height": WINDOW[1], "deviceScaleFactor": 1, "mobile": False},
            )
            browser.get(address)
            yield browser
        finally:
            browser.quit()
            server.terminate()


def save(picture: Image.Image, name: str) -> None:
    """Writes a picture, smaller and with fewer colours."""
    small = picture.convert("RGB").resize(
        (WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS
    )
    small.quantize(COLOURS).save(PICTURES / name, optimize=True)


def make(demo: Path) -> None:
    """Makes both pictures from the first test images of each kind."""
    scans = [file for kind in sorted((demo / "phantoms/test").iterdir()) for file in sorted(kind.iterdir())[:2]]
    with tempfile.TemporaryDirectory() as maps:
        words = ["predict", "--heatmaps", maps, *(str(scan.relative_to(demo)) for scan in scans)]
        subprocess.run([*CTONNX, *words], cwd=demo, check=True)
        drawn = next(file for file in sorted(Path(maps).rglob("*.png")) if "large" in str(file))
        with Image.open(drawn) as picture:
            save(picture, "heatmap.png")
    with page(demo) as browser, tempfile.TemporaryDirectory() as folder:
        browser.find_element("css selector", "#files").send_keys("\n".join(map(str, scans)))
        rows = "#scans > li:is([data-state=suspicious], [data-state=clear], [data-state=below], [data-state=refer])"
        WebDriverWait(browser, 30).until(lambda _: len(browser.find_elements("css selector", rows)) == len(scans))
        file = Path(folder) / "page.png"
        browser.save_screenshot(str(file))
        with Image.open(file) as picture:
            save(picture, "page.png")


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "ctonnx-demo").resolve())
