"""A Python with pip alone has the packaging standards, too."""

import builtins
import importlib
from typing import Any

import pytest

from ctonnx_offline import standards


def test_copy_of_pip_is_used_without_packaging(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "packaging":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    try:
        with monkeypatch.context() as patch:
            patch.setattr("builtins.__import__", without)
            importlib.reload(standards)
        assert standards.tags.__name__ == "pip._vendor.packaging.tags"
        assert standards.requirements.Requirement("a[b]>=1").extras == {"b"}
    finally:
        importlib.reload(standards)
    assert standards.tags.__name__ == "packaging.tags"
