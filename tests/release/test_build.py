"""A release is built from a commit, twice and the same, and its bill of materials is valid."""

import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from click.testing import CliRunner
from release import build as release
from release.build import commit_of, reproducible_packages, version_of, write_bill
from release.pinned import ROOT

from ctonnx.errors import CheckFailed

_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
version = "1.2.3"
requires-python = ">=3.11"
[tool.hatch.build.hooks.custom]
"""
_HOOK = """
from pathlib import Path
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class Hook(BuildHookInterface):
    def initialize(self, version, data):
        Path(self.root, "small/made.txt").write_text({text})
        data["artifacts"].append("small/made.txt")
"""


def git(folder: Path, *words: str) -> str:
    named = "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"
    command = [str(shutil.which("git")), *named, *words]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def repository(folder: Path, text: str) -> Path:
    """Writes a repository of a small package, which has a file with `text`, an expression, once it is built."""
    (folder / "small").mkdir(parents=True)
    (folder / "small/__init__.py").write_text("")
    (folder / "pyproject.toml").write_text(_PROJECT)
    (folder / "hatch_build.py").write_text(_HOOK.format(text=text))
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_packages_are_built_from_the_commit_with_its_time(tmp_path: Path) -> None:
    source = repository(tmp_path / "repository", "'always the same'")
    (tmp_path / "place").mkdir()
    wheel, archive = reproducible_packages(source, tmp_path / "place")
    assert (archive.name, wheel.name) == ("small-1.2.3.tar.gz", "small-1.2.3-py3-none-any.whl")
    assert version_of(source) == "1.2.3"
    with zipfile.ZipFile(wheel) as opened:
        assert opened.read("small/made.txt") == b"always the same"
        ((year, *_),) = {entry.date_time for entry in opened.infolist()}
    assert year == int(git(source, "log", "-1", "--format=%cd", "--date=format:%Y"))


@pytest.mark.parametrize("text", ["__import__('time').tzname[0]", "str(__import__('time').time_ns())", "self.root"])
def test_package_that_depends_on_its_build_is_rejected(tmp_path: Path, text: str) -> None:
    source = repository(tmp_path / "repository", text)
    (tmp_path / "place").mkdir()
    with pytest.raises(CheckFailed, match=r"expected two builds of small-1\.2\.3.* to be the same, byte for byte"):
        reproducible_packages(source, tmp_path / "place")


def test_changes_that_are_not_committed_are_rejected(tmp_path: Path) -> None:
    source = repository(tmp_path / "repository", "''")
    (source / "more.py").write_text("")
    with pytest.raises(CheckFailed, match=r"built from a commit, found 1 change: \?\? more\.py; commit or remove"):
        reproducible_packages(source, tmp_path)


def test_bill_of_materials_names_every_package_and_no_folder(tmp_path: Path) -> None:
    """The environment has the metadata of some packages, of which one was installed from a file."""
    venv.create(tmp_path / "environment", symlinks=True)
    python = tmp_path / "environment/bin/python"
    packages = tmp_path / f"environment/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for name in ("click", "numpy", "pillow"):
        source = Path(str(distribution(name).locate_file(""))) / f"{name}-{version(name)}.dist-info"
        shutil.copytree(source, packages / source.name)
    of_a_file = {"url": f"file://{tmp_path}/secret/click-8.0-py3-none-any.whl", "archive_info": {}}
    next(packages.glob("click-*/")).joinpath("direct_url.json").write_text(json.dumps(of_a_file))
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert write_bill(python, first, 1_790_000_000) == 3
    document = json.loads(first.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "ctonnx"
    versions = {component["name"]: component["version"] for component in document["components"]}
    assert versions == {name: version(name) for name in ("click", "numpy", "pillow")}
    assert "click-8.0-py3-none-any.whl" in first.read_text()
    assert str(tmp_path) not in first.read_text()
    write_bill(python, second, 1_790_000_000)
    assert first.read_bytes() == second.read_bytes()


def test_release_needs_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "old.whl").write_text("")
    result = CliRunner().invoke(release.main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "expected a new or empty folder, found files in" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["old.whl"]


def test_nothing_stays_of_a_release_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Path:
        raise CheckFailed("the wheel is another one")

    source = repository(tmp_path / "repository", "''")
    monkeypatch.setattr(release, "_installed", fail)
    monkeypatch.setattr(release, "commit_of", lambda _: commit_of(source))
    monkeypatch.setattr(release, "reproducible_packages", lambda _, place: reproducible_packages(source, place))
    result = CliRunner().invoke(release.main, [str(tmp_path / "dist")])
    assert (result.exit_code, result.stderr) == (1, "Error: the wheel is another one\n")
    assert not (tmp_path / "dist").exists()


def test_workflow_runs_what_a_change_must_pass() -> None:
    import yaml

    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert ".ci/run" in jobs["test"]["steps"][-1]["run"]
    assert {"run": "make release"} in jobs["release"]["steps"]
    targets = set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text()))
    for step in jobs["release"]["steps"]:
        assert set(re.findall(r"\bmake ([\w-]+)", step.get("run", ""))) <= targets
