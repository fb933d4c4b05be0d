"""The check of the wheels of each platform, with a replaced resolver: no network."""

from pathlib import Path

import pytest
from tests.devices import PLATFORMS, SETS, Case, Platform, cases, fault
from tests.environments import REPOSITORY

WHEEL = Path("/wheels/ctonnx-0.3.0-py3-none-any.whl")
NO_WHEELS = "onnxruntime>=1.23.0 has no wheels with a matching platform tag"


def case(name: str, python: str = "3.11", extras: str = "cpu") -> Case:
    (platform,) = (found for found in PLATFORMS if found.name == name)
    return Case(platform=platform, python=python, extras=extras)


def test_expected_results_pass() -> None:
    assert fault(case("Linux, 64-bit ARM"), WHEEL, lambda *_: None) is None
    assert fault(case("Alpine, x86-64"), WHEEL, lambda *_: NO_WHEELS) is None


def test_missing_wheel_fails() -> None:
    found = fault(case("Linux, 64-bit ARM"), WHEEL, lambda *_: NO_WHEELS)
    assert found == f"devices: [cpu] on Linux, 64-bit ARM, Python 3.11: expected wheels, found none:\n{NO_WHEELS}"


def test_new_wheel_fails_until_it_is_documented() -> None:
    found = fault(case("Windows, ARM", extras="cpu,pacs"), WHEEL, lambda *_: None)
    assert found is not None
    assert "it resolves now; correct PLATFORMS and docs/guide/devices.md" in found


def test_other_error_is_not_called_a_missing_wheel() -> None:
    found = fault(case("Windows, x86-64"), WHEEL, lambda *_: "connection refused")
    assert found is not None
    assert found.endswith("uv failed for another reason than missing wheels:\nconnection refused")


def test_uv_resolves_the_wheel_for_the_platform_from_wheels_alone() -> None:
    asked: list[tuple[list[str], str]] = []

    def resolve(command: list[str], requirement: str) -> None:
        asked.append((command, requirement))

    fault(case("Linux, 64-bit ARM", "3.13", "cpu,dicom"), WHEEL, resolve)
    ((command, requirement),) = asked
    assert requirement == "ctonnx[cpu,dicom] @ file:///wheels/ctonnx-0.3.0-py3-none-any.whl"
    assert command[command.index("--python-platform") + 1] == "aarch64-manylinux_2_28"
    assert command[command.index("--python-version") + 1] == "3.13"
    assert command[command.index("--only-binary") + 1] == ":all:"


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_page_has_every_platform(platform: Platform) -> None:
    page = (REPOSITORY / "docs/guide/devices.md").read_text(encoding="utf-8")
    assert f"| {platform.name} |" in page


def test_number_of_sets_with_wheels_is_the_documented_one() -> None:
    page = (REPOSITORY / "docs/guide/devices.md").read_text(encoding="utf-8")
    found = list(cases())
    assert f"{sum(item.resolves for item in found)} of {len(found)} sets" in page
    assert {item.extras for item in found} == set(SETS)
