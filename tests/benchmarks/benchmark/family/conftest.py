"""A family on disk, of three files in two runs, and the document of one with six models, without measuring anything."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from ctonnx.artifacts.golden import load_golden, save_golden
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.intervals import share_interval
from ctonnx_bench.benchmark.family.document import mark_front

CHILD = "1" * 64
"""Checkpoint of the run that stands for a pruned one."""

MODELS = (
    ("FP32", 45.0, 102, 45),
    ("FP16", 50.0, 51, 45),
    ("INT8", 13.0, 26, 44),
    ("INT8 learned", 13.0, 26, 46),
    ("pruned FP32", 25.0, 40, 46),
    ("pruned INT8", 8.0, 11, 45),
)
"""Title, milliseconds, megabytes, and right ones of 62 images."""


def change_spec(file: Path, change: Callable[[ModelSpec], ModelSpec]) -> None:
    """Rewrites the spec in a model file."""
    model = onnx.load(file)
    (kept,) = (item for item in model.metadata_props if item.key == METADATA_KEY)
    kept.value = change(ModelSpec.from_json(kept.value)).to_json()
    onnx.save(model, file)


@pytest.fixture
def family(workspace: Path) -> list[Path]:
    """FP32 of the run, a second export of it that calls itself INT8, and FP32 of another network of another run."""
    run = Path("runs/tiny")
    learned = run / "export-learned/model.int8.onnx"
    learned.parent.mkdir()
    shutil.copy(run / "export/model.fp32.onnx", learned)
    change_spec(learned, lambda spec: replace(spec, precision="int8"))
    shutil.copy(run / "export/golden.npz", learned.parent)
    pruned = Path("runs/tiny-half/export/model.fp32.onnx")
    shutil.copytree(run, pruned.parent.parent, ignore=shutil.ignore_patterns("export-learned"))
    change_spec(pruned, lambda spec: replace(spec, name="tiny-half", checkpoint_sha256=CHILD))
    golden = pruned.with_name("golden.npz")
    save_golden(golden, replace(load_golden(golden), checkpoint_sha256=CHILD, model_sha256={}))
    return [run / "export/model.fp32.onnx", learned, pruned]


@pytest.fixture
def make_family_document(document: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Function that builds the document of `MODELS`, or of others, at batch 1 and 8, with or without labels."""

    def make(models: Any = MODELS, *, is_labelled: bool = True) -> dict[str, Any]:
        cases = []
        for batch in (1, 8):
            for title, ms, size, right in models:
                (template,) = (
                    case for case in document["cases"] if case["batch_size"] == batch and "FP32" in case["title"]
                )
                low, high = share_interval(right / 62, 62)
                change = {"images": 62, "difference": (right - models[0][3]) / 62, "low": -0.0405, "high": 0.0401}
                cases.append(
                    {
                        **template,
                        "name": f"{title} | batch {batch}",
                        "title": title,
                        "contender": title,
                        "bytes": size * 1_000_000,
                        "ms_per_image": ms,
                        "parity": {"agreement": 60 / 62, "agreement_interval": (0.89, 0.99), "max_dp": 0.2},
                        "accuracy": {"images": 62, "value": right / 62, "low": low, "high": high, "change": change}
                        if is_labelled
                        else None,
                        "times_as_fast": {"than": models[0][0], "value": 45 / ms, "low": 44 / ms, "high": 46 / ms},
                        "failures": [],
                        "doubts": [],
                    }
                )
        return {
            **document,
            "tool": "ctonnx bench --family",
            "command": "ctonnx bench runs/a runs/b --family",
            "models": [{**document["models"][0], "title": title} for title, *_ in models],
            "checked_on": {
                "images": 62,
                "effective_images": 62.0,
                "split": "test",
                "about": "62 labelled images (test) of data",
                "reference": models[0][0],
                "cautions": [],
                "unjudged": [],
            },
            "cases": mark_front(cases),
            "broken": {},
        }

    return make


@pytest.fixture
def family_document(make_family_document: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The document of `MODELS` with labels."""
    return make_family_document()
