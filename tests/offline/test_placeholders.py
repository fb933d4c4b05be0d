"""pip takes a package of the machine as installed, in a version that the requirements allow."""

from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx_offline.checking import read_wheel
from ctonnx_offline.placeholders import installed_versions, write_placeholder

REQUIRED = ["torch>=2.11", "Torch_Vision>=0.26,!=0.27", "numpy"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["torch", "torch-vision"], {"torch": "2.11", "torch-vision": "0.26"}),
        (["torch==2.13.0+cu130"], {"torch": "2.13.0+cu130"}),
        ([" Torch_Vision==0.28 "], {"torch-vision": "0.28"}),
        (["unknown==1"], {"unknown": "1"}),
        ([], {}),
    ],
)
def test_version_is_given_or_the_oldest_allowed(given: list[str], expected: dict[str, str]) -> None:
    assert installed_versions(given, REQUIRED) == expected


@pytest.mark.parametrize("given", ["numpy", "unknown", "torch>=2", "torch==", "torch==two"])
def test_version_that_is_not_known_is_asked_for(given: str) -> None:
    with pytest.raises(CtonnxError, match=f"expected packages of the machine as NAME==VERSION, found '{given}'"):
        installed_versions([given], REQUIRED)


def test_placeholder_is_a_wheel_without_requirements(tmp_path: Path) -> None:
    wheel = write_placeholder(tmp_path, "torch-vision", "2.13.0+cu130")
    assert wheel.name == "torch_vision-2.13.0+cu130-py3-none-any.whl"
    facts = read_wheel(wheel)
    assert (facts.name, facts.version, facts.requires) == ("torch-vision", "2.13.0+cu130", ())
