"""What `ctonnx export` and its library refuse before any work."""

import re
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx.cli.main import main
from ctonnx_export.quantization.settings import Quantization


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"target": "riscv"}, "expected target to be one of ('x86', 'amx', 'arm', 'tensorrt'), found 'riscv'"),
        ({"samples": 0}, "expected samples of 1 or more, found 0"),
    ],
)
def test_quantization_is_checked_when_it_is_made(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Quantization(**setting)


@pytest.mark.parametrize("value", ["int4", "fp16;int8", "", "all,fp16"])
def test_unknown_precision_is_wrong_use(value: str) -> None:
    result = CliRunner().invoke(main, ["export", "--precision", value])
    assert result.exit_code == 2
    assert "expected fp32, fp16, int8, joined by commas, or all; found " in result.stderr


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (("--samples", "9"), "int8 with --samples"),
        (("--precision", "fp16", "--target", "arm"), "int8 with --target"),
        (("--max-drop", "1"), "fp16 or int8 with --max-drop"),
        (("--min-agreement", "90"), "fp16 or int8 with --min-agreement"),
    ],
)
def test_option_that_would_do_nothing_is_wrong_use(options: tuple[str, ...], needed: str) -> None:
    result = CliRunner().invoke(main, ["export", *options])
    assert result.exit_code == 2
    assert f"expected --precision {needed}, found --precision fp" in result.stderr
