"""Settings of the quantization are validated when they are constructed."""

import re
from typing import Any

import pytest

from ctonnx_export.quantization.settings import Quantization


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"target": "riscv"}, "expected target to be one of ('x86', 'amx', 'arm', 'tensorrt'), found 'riscv'"),
        ({"samples": 0}, "expected samples of 1 or more, found 0"),
        ({"finetune_epochs": 0}, "expected finetune_epochs of 1 or more, found 0"),
    ],
)
def test_quantization_is_checked_when_it_is_made(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Quantization(**setting)
