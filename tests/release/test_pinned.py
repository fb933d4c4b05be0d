"""Containers install the versions that the tests passed with, by their hashes; THIRD_PARTY.md names every package."""

import platform
import re
import sys
import tomllib
from collections.abc import Mapping

import pytest
from packaging.requirements import Requirement
from release.pinned import EXTRAS, ROOT
from release.third_party import closure, packages_of_extras, render, versions_of_tests

_LINE = re.compile(r"^([\w.-]+)==(\S+)(?: ; .*?)? \\$", re.MULTILINE)


def project() -> Mapping[str, Mapping[str, list[str]]]:
    found: Mapping[str, Mapping[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def pinned(image: str) -> dict[str, str]:
    return dict(_LINE.findall((ROOT / "docker" / image / "requirements.txt").read_text()))


@pytest.mark.parametrize("image", EXTRAS)
def test_versions_of_a_container_are_those_of_the_tests(image: str) -> None:
    found, tested = pinned(image), versions_of_tests()
    assert {name: version for name, version in found.items() if tested.get(name) != version} == {}


@pytest.mark.parametrize("image", EXTRAS)
def test_container_has_what_its_extras_need_and_each_by_its_hash(image: str) -> None:
    requirements = [*project()["dependencies"]]
    for extra in EXTRAS[image]:
        requirements += project()["optional-dependencies"][extra]
    assert set(pinned(image)) == closure(map(Requirement, requirements))
    entries = re.split(r"(?m)^(?=[\w.-]+==)", (ROOT / "docker" / image / "requirements.txt").read_text())[1:]
    assert len(entries) == len(pinned(image))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)


@pytest.mark.parametrize("image", EXTRAS)
def test_container_is_installed_by_hashes_and_runs_without_rights(image: str) -> None:
    lines = (ROOT / "docker" / image / "Dockerfile").read_text()
    assert f"COPY {image}/requirements.txt ctonnx-*.whl /build/" in lines
    assert "--require-hashes" in lines
    last = lines.rpartition("\nFROM ")[2]
    assert "USER 65534:65534" in last
    assert "HEALTHCHECK" in last
    assert "pip install" not in last


def test_extra_that_names_others_has_their_packages() -> None:
    users = packages_of_extras(["click>=8"], {"a": ["pytest>=8"], "b": ["ctonnx[a]", "click"]})
    assert users["click"] == ["core"]
    assert users["pytest"] == users["iniconfig"] == ["a", "b"]  # pytest needs iniconfig


def test_marker_and_extra_of_a_requirement_are_followed() -> None:
    assert closure([Requirement("uvicorn")]) < closure([Requirement("uvicorn[standard]")])
    assert "colorama" not in closure([Requirement("click")])  # only on Windows


@pytest.mark.skipif(
    (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)),
    reason="THIRD_PARTY.md has the packages of Linux x86-64 and Python 3.11",
)
def test_every_package_is_named_with_its_license() -> None:
    users = packages_of_extras(project()["dependencies"], project()["optional-dependencies"])
    lines = (ROOT / "THIRD_PARTY.md").read_text().splitlines()
    found = [re.fullmatch(r"\| \[?([a-z0-9-]+)\b.*? \| (\S*) \| (.+) \| (.+) \|", line) for line in lines]
    rows = {row[1]: row for row in found if row and row[1] != "package"}
    assert {name: row[4].split(", ") for name, row in rows.items()} == users
    tested = versions_of_tests()
    assert {name: row[2] for name, row in rows.items()} == {name: tested.get(name, "") for name in users}
    assert rows["numpy"][3].startswith("BSD-3-Clause")


def test_package_without_facts_is_named_nevertheless() -> None:
    facts = {"License": "MIT | Apache", "URL": "UNKNOWN"}
    of_index = {"License": "MIT", "URL": "https://index.example/project/c/"}
    text = render({"a": ["core"], "b": ["cpu", "gpu"], "c": []}, {"a": facts, "c": of_index}, {"a": "1.0"})
    assert "| c |  | MIT |" in text
    assert "| a | 1.0 | MIT \\| Apache | core |\n| b |  | not installed here: see its page | cpu, gpu |\n" in text
