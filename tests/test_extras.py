"""Every extra, and every set of extras that anything names, is one that `make extras` installs and tries."""

import re
import tomllib
from pathlib import Path

import pytest
from tests.environments import REPOSITORY
from tests.extras import CHECKS, NOT_HERE

from ctonnx.cli.main import _COMMANDS
from ctonnx.inference.providers import PROVIDERS

_BUILDS = {facts.extra for facts in PROVIDERS.values()}
_PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def tried() -> set[frozenset[str]]:
    return {frozenset(check.extras.split(",")) for check in CHECKS}


def named_in(text: str) -> set[frozenset[str]]:
    """Returns the sets of extras in the words for pip: of `ctonnx[cpu,serve]`, of `.[cpu]` and of a wheel.

    >>> sorted(map(sorted, named_in('pip install "ctonnx[cpu,serve]" or ".[dicom]", not tritonclient[http]')))
    [['cpu', 'serve'], ['dicom']]
    """
    return {frozenset(found.split(",")) for found in re.findall(r'"(?:\.|(?:\./)?ctonnx\S*?)\[([\w,]+)\]', text)}


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


@pytest.mark.parametrize("extra", extras())
def test_extra_is_tried_alone(extra: str) -> None:
    assert (extra in NOT_HERE) != (frozenset({extra}) in tried())


def test_extra_that_is_not_tried_is_one() -> None:
    assert set(NOT_HERE) <= set(extras())


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_set_that_a_page_names_is_tried(page: Path) -> None:
    assert {named for named in named_in(page.read_text(encoding="utf-8")) if not named & set(NOT_HERE)} <= tried()


@pytest.mark.parametrize("command", _COMMANDS)
def test_set_that_a_command_asks_for_is_tried(command: str) -> None:
    assert frozenset(_COMMANDS[command].extras.split(",")) in tried()


def test_readme_names_sets_that_are_found() -> None:
    named = named_in((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert {frozenset({"cpu", "train", "export"}), frozenset({"cpu"}), frozenset({"cpu", "serve"})} <= named


def test_check_holds_the_builds_that_its_extras_bring() -> None:
    for check in CHECKS:
        brings = {facts.distribution for facts in PROVIDERS.values() if facts.extra in check.extras.split(",")}
        if check.extras == "all":
            brings = {"onnxruntime-gpu"}
        assert brings == ({check.build} if check.build else set())


def test_no_extra_but_those_of_the_builds_brings_onnxruntime() -> None:
    bring = {name for name, needed in extras().items() if any(line.startswith("onnxruntime") for line in needed)}
    assert bring == _BUILDS
    assert extras()["all"][0].startswith("ctonnx[gpu,")


def test_compromised_releases_of_lightning_are_excluded() -> None:
    """GHSA-w37p-236h-pfx3: 2.6.2 and 2.6.3 had a program in them that sent away whatever secrets it found."""
    (requirement,) = (line for line in extras()["train"] if line.startswith("lightning"))
    bounds = set(requirement.removeprefix("lightning").split(","))
    assert bounds == {">=2.6.4", "!=2.6.2", "!=2.6.3"}
