"""Collected wheels are complete for the target, by their own metadata."""

from pathlib import Path

import pytest
from tests.offline.conftest import MakeWheel

from ctonnx.errors import CtonnxError
from ctonnx_offline.checking import check_wheels, read_wheel
from ctonnx_offline.target import Target

TARGET = Target.of("3.12", "win_amd64")


def test_requirements_of_extras_and_of_requirements_are_found(make_wheel: MakeWheel) -> None:
    wheels = [
        make_wheel("alpha", requires=["Beta_One[x]>=1", 'posix; os_name == "posix"', 'none; extra == "other"']),
        make_wheel("beta-one", requires=['gamma<2; extra == "x"', "torch>=2"]),
        make_wheel("gamma", "1.5", tag="cp312-cp312-win_amd64"),
    ]
    facts = [read_wheel(wheel) for wheel in wheels]
    check_wheels(facts, ["alpha"], {"torch": "2.11"}, TARGET)
    with pytest.raises(CtonnxError, match=r"expected a wheel of 'torch>=2' for .*, required by beta-one, found 1.9"):
        check_wheels(facts, ["alpha"], {"torch": "1.9"}, TARGET)
    with pytest.raises(CtonnxError, match=r"expected a wheel of 'gamma<2.* required by beta-one, found none"):
        check_wheels(facts[:2], ["alpha"], {"torch": "2.11"}, TARGET)
    check_wheels([facts[0], facts[1]], ["beta-one"], {"torch": "2.11"}, TARGET)
    with pytest.raises(CtonnxError, match=r"expected a wheel of 'none.* required by alpha, found none"):
        check_wheels(facts, ["alpha[other]"], {"torch": "2.11"}, TARGET)


def test_cycle_of_extras_ends(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("alpha", requires=['alpha[b]; extra == "a"', 'alpha[a]; extra == "b"'])
    check_wheels([read_wheel(wheel)], ["alpha[a]"], {}, TARGET)


@pytest.mark.parametrize(
    ("tag", "headers"),
    [
        ("cp311-cp311-win_amd64", ""),
        ("cp312-cp312-manylinux_2_17_x86_64", ""),
        ("py3-none-any", "Requires-Python: >=3.13\n"),
    ],
)
def test_wheel_for_another_system_is_rejected(make_wheel: MakeWheel, tag: str, headers: str) -> None:
    wheel = read_wheel(make_wheel("alpha", tag=tag, headers=headers))
    message = "expected wheels for Python 3.12 on Windows AMD64, found one of alpha 1.0 for another"
    with pytest.raises(CtonnxError, match=message):
        check_wheels([wheel], ["alpha"], {}, TARGET)


@pytest.mark.parametrize("name", ["alpha-1.0-py3-none-any.whl", "alpha.whl"])
def test_file_that_is_no_wheel_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(CtonnxError, match=f"expected a wheel, found '{name}'"):
        read_wheel(tmp_path / name)
