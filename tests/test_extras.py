"""Every extra, and every set of extras that the documentation or a command names, is checked by `make extras`."""

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


def checked() -> set[frozenset[str]]:
    return {frozenset(check.extras.split(",")) for check in CHECKS}


def named_in(text: str) -> set[frozenset[str]]:
    """Returns the sets of extras in arguments of pip, `ctonnx[cpu,serve]`, `.[cpu]` or a wheel, and of `make wheels`.

    >>> sorted(map(sorted, named_in('pip install "ctonnx[cpu,serve]" or ".[dicom]", not tritonclient[http]')))
    [['cpu', 'serve'], ['dicom']]
    >>> named_in("make wheels DIR=bundle EXTRAS=tiff")
    {frozenset({'tiff'})}
    """
    named = r'(?:"(?:\.|(?:\./)?ctonnx\S*?)\[|\bEXTRAS=)([\w,-]+)'
    return {frozenset(found.split(",")) for found in re.findall(named, text)}


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


@pytest.mark.parametrize("extra", extras())
def test_extra_is_checked_alone(extra: str) -> None:
    assert (extra in NOT_HERE) != (frozenset({extra}) in checked())


def test_extras_not_checked_here_exist() -> None:
    assert set(NOT_HERE) <= set(extras())


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_set_named_by_a_page_is_checked(page: Path) -> None:
    assert {named for named in named_in(page.read_text(encoding="utf-8")) if not named & set(NOT_HERE)} <= checked()


@pytest.mark.parametrize("command", _COMMANDS)
def test_set_needed_by_a_command_is_checked(command: str) -> None:
    assert frozenset(_COMMANDS[command].extras.split(",")) in checked()


def test_readme_names_sets_that_are_found() -> None:
    named = named_in((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert {frozenset({"cpu", "train", "export"}), frozenset({"cpu"}), frozenset({"cpu", "serve"})} <= named


def test_check_has_the_builds_that_its_extras_install() -> None:
    for check in CHECKS:
        builds = {facts.distribution for facts in PROVIDERS.values() if facts.extra in check.extras.split(",")}
        if check.extras == "all":
            builds = {"onnxruntime-gpu"}
        assert builds == ({check.build} if check.build else set())


def test_only_the_extras_of_the_builds_install_onnxruntime() -> None:
    installing = {name for name, needed in extras().items() if any(line.startswith("onnxruntime") for line in needed)}
    assert installing == _BUILDS
    assert extras()["all"][0].startswith("ctonnx[gpu,")


def test_compromised_releases_of_lightning_are_excluded() -> None:
    """GHSA-w37p-236h-pfx3: 2.6.2 and 2.6.3 contained malware that stole credentials."""
    (requirement,) = (line for line in extras()["train"] if line.startswith("lightning"))
    bounds = set(requirement.removeprefix("lightning").split(","))
    assert bounds == {">=2.6.4", "!=2.6.2", "!=2.6.3"}
