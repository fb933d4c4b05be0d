"""The commands and the Python of README and the quickstart run as they are written, on small phantoms.

Each command gets the options of `_SMALLER` after its own, which click takes instead of earlier ones: fewer and smaller
phantoms, one epoch, one short round on the CPU. Of `make` only the target is checked. The lines of `_ELSEWHERE` install
ctonnx and are left out: `tests/extras.py` runs them in environments of their own.
"""

import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.conftest import each_network_converted_once, thin_network

import ctonnx
from ctonnx.cli.main import main

_ROOT = Path(__file__).parents[2]
_PAGES = sorted([_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *(_ROOT / "docs").rglob("*.md")])
_SMALLER = {
    "data phantom": ("--per-class", "8", "--size", "64"),
    "train": ("--epochs", "1", "--image-size", "32", "--batch-size", "8"),
    "evaluate": ("--replicates", "20"),
    "bench": ("--provider", "cpu", "--rounds", "1", "--duration", "0.1", "--batch-size", "1"),
    "serve": ("--port", "0", "--threads", "1"),
}
_ELSEWHERE = ("pip ", "python3 -m venv ", ". venv/")


def _blocks(page: Path, language: str) -> Iterator[str]:
    for found in re.finditer(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield found[1]


def _lines(page: Path) -> list[str]:
    """Returns the lines that a page types at a prompt, each with the lines that a backslash adds to it."""
    text = "".join(_blocks(page, "console")).replace("\\\n", "")
    return re.findall(r"^\$ (.*)$", text, re.MULTILINE)


def _words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def _smaller(words: list[str]) -> list[str]:
    return [*words, *(_SMALLER.get(" ".join(words[:2])) or _SMALLER.get(words[0], ()))]


def _serve(words: list[str]) -> None:
    """Starts the server, waits until it is ready, and stops it."""
    with subprocess.Popen([sys.executable, "-m", "ctonnx", *words], stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(line.split()[1] for line in process.stderr or () if line.startswith("serving: "))
            with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=20) as response:  # noqa: S310  # our own
                assert response.status == 200
        finally:
            process.terminate()
            process.communicate()


def _run(page: Path) -> None:
    """Runs what a page types, in order, and then its Python."""
    for line in _lines(page):
        words = _words(line)
        if line.startswith(_ELSEWHERE):
            continue
        if words[0] == "make":
            subprocess.run([*words, "--dry-run"], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
        elif words[:2] == ["ctonnx", "serve"]:
            _serve(_smaller(words[1:]))
        else:
            assert words[0] == "ctonnx", line
            result = CliRunner().invoke(main, _smaller(words[1:]))
            assert result.exit_code == 0, f"{line}\n{result.output}"
    for code in _blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {})  # noqa: S102  # the page's own


def test_quickstart_runs_and_readme_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README assumes a run, a scan and a folder of scans."""
    monkeypatch.chdir(tmp_path)
    with thin_network(), each_network_converted_once():
        _run(_ROOT / "docs/quickstart.md")
        assert (tmp_path / "predictions.csv").is_file()
        assert list((tmp_path / "heatmaps").rglob("*.heatmap.png"))
        shutil.copytree("phantoms/test", "scans")
        shutil.copy(next(Path("scans").rglob("*.png")), "scan.png")
        _run(_ROOT / "README.md")


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_options_of_a_page_are_those_of_the_commands(page: Path) -> None:
    for line in _lines(page):
        if "ctonnx" not in (words := _words(line)) or words[0] in ("pip", "docker"):
            continue
        name, *words = words[words.index("ctonnx") + 1 :]
        context = click.Context(main)
        command = main.get_command(context, name)
        is_itself = getattr(command, "invoke_without_command", False) and (not words or words[0].startswith("-"))
        if isinstance(command, click.Group) and not is_itself:
            name, *words = words
            command = command.get_command(context, name)
        assert command, line
        command.make_parser(click.Context(command)).parse_args(list(words))


@pytest.mark.parametrize("page", [*_PAGES, _ROOT / "Makefile"], ids=lambda page: page.name)
def test_modules_of_a_page_are_there(page: Path) -> None:
    named = set(re.findall(r"-m (ctonnx_(?:bench|offline)(?:\.\w+)*)", page.read_text(encoding="utf-8")))
    folders = {"ctonnx_bench": "benchmarks", "ctonnx_offline": "offline"}
    paths = {name: _ROOT / folders[name.partition(".")[0]] / name.replace(".", "/") for name in named}
    files = {name: (path.with_suffix(".py"), path / "__main__.py") for name, path in paths.items()}
    missing = [name for name, places in files.items() if not any(file.is_file() for file in places)]
    assert missing == []


def test_links_of_readme_and_contributing_lead_to_files() -> None:
    """Those between the pages of docs/ are checked by `make site`, the headings that they name too."""
    for page in (_ROOT / "README.md", _ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (_ROOT / link).is_file(), f"{page.name}: {link}"


def test_api_reference_has_every_public_name() -> None:
    named = set(
        re.findall(r"^\.\. auto\w+:: ctonnx\.(\w+)$", (_ROOT / "docs/reference/api.md").read_text("utf-8"), re.M)
    )
    assert named == set(ctonnx.__all__) - {"__version__"}


def test_readme_is_a_page() -> None:
    assert len((_ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
