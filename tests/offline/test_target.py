"""A target has the tags and the markers of its machine, whichever machine asks."""

import sys

import pytest

from ctonnx.errors import CtonnxError
from ctonnx_offline.standards import markers, tags
from ctonnx_offline.target import Target


def test_default_is_this_python_on_this_machine() -> None:
    target = Target.of()
    assert target.python == sys.version_info[:2]
    assert str(next(tags.sys_tags())) in target.tags
    assert markers.Marker(f"python_full_version == '{target.markers['python_full_version']}'").evaluate()


@pytest.mark.parametrize(
    ("platform", "system", "machine"),
    [
        ("manylinux_2_28_x86_64", ("linux", "Linux", "posix"), "x86_64"),
        ("manylinux2014_aarch64", ("linux", "Linux", "posix"), "aarch64"),
        ("manylinux1_x86_64", ("linux", "Linux", "posix"), "x86_64"),
        ("musllinux_1_2_aarch64", ("linux", "Linux", "posix"), "aarch64"),
        ("win_amd64", ("win32", "Windows", "nt"), "AMD64"),
        ("macosx_14_0_arm64", ("darwin", "Darwin", "posix"), "arm64"),
    ],
)
def test_markers_are_those_of_the_platform(platform: str, system: tuple[str, ...], machine: str) -> None:
    found = Target.of("3.13", platform).markers
    assert (found["sys_platform"], found["platform_system"], found["os_name"]) == system
    assert found["platform_machine"] == machine
    assert (found["python_version"], found["python_full_version"]) == ("3.13", "3.13.0")
    assert "extra" not in found


def test_wheels_for_older_systems_run_on_newer_ones() -> None:
    found = Target.of("3.12", "manylinux_2_28_x86_64").tags
    assert {
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-cp312-manylinux2014_x86_64",
        "cp39-abi3-manylinux2010_x86_64",
        "cp312-none-any",
        "py3-none-any",
        "py2-none-any",
    } - found == {"py2-none-any"}
    assert "cp312-cp312-manylinux_2_34_x86_64" not in found
    assert "cp311-cp311-manylinux_2_28_x86_64" not in found
    assert "cp312-cp312-macosx_11_0_arm64" in Target.of("3.12", "macosx_14_0_arm64").tags
    assert "manylinux_2_5_aarch64" not in Target.of("3.12", "manylinux_2_28_aarch64").platforms


def test_options_of_pip_name_version_and_platforms() -> None:
    options = Target.of("3.12", "win_amd64").pip_options
    assert " ".join(options) == ("--only-binary :all: --implementation cp --python-version 3.12 --platform win_amd64")


@pytest.mark.parametrize("version", ["3", "3.12.1", "2.7", "312", "3.x"])
def test_version_is_two_numbers(version: str) -> None:
    with pytest.raises(CtonnxError, match=f"expected a version of Python such as 3.12, found '{version}'"):
        Target.of(version)


@pytest.mark.parametrize("platform", ["linux", "any", "manylinux_2_4_x86_64", "win64", "macosx_14_arm64"])
def test_platform_is_a_tag(platform: str) -> None:
    with pytest.raises(CtonnxError, match=f"expected a platform tag such as .*, found '{platform}'"):
        Target.of("3.12", platform)


def test_other_implementations_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    with pytest.raises(CtonnxError, match="expected CPython to collect wheels with, found pypy"):
        Target.of()
