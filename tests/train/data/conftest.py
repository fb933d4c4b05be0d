"""Helpers of the tests that read dataset folders."""

import re
from pathlib import Path
from typing import Any

import pytest

from ctonnx.errors import DataError
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data


def paths(data: Dataset) -> list[str]:
    return [sample.path for sample in data.samples]


def rejected(root: Path, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_data(root, **options)
