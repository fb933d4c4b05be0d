"""`ctonnx predict` on a folder scans/ with three good images and an empty file."""

import json
from pathlib import Path
from typing import Any

import onnx
from click.testing import CliRunner, Result

from ctonnx.cli.main import main

GOOD = ["scans/a.png", "scans/c.png", "scans/inner/d.png"]
FILES = sorted([*GOOD, "scans/b.png"])


def predict(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)], input=stdin)


def assert_rejected(result: Result, sentence: str) -> None:
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines()[-1] == f"Error: {sentence}"


def changed_spec(model: Path, **changes: Any) -> Path:
    """Writes a copy of a model whose spec has changes, and returns its path."""
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    metadata.value = json.dumps({**json.loads(metadata.value), **changes})
    onnx.save(loaded, "changed.onnx")
    return Path("changed.onnx")
