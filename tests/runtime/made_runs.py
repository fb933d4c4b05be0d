"""Folders of runs whose files are empty where their content does not matter."""

import json
from pathlib import Path

import onnx
from onnx import helper

from ctonnx.artifacts.run import RUNS, Run


def write_model(file: Path, target: str | None) -> None:
    """Writes a model with the target of its quantization."""
    made = helper.make_model(helper.make_graph([], "graph", [], []))
    spec = {"quantization": None if target is None else {"target": target}}
    helper.set_model_props(made, {"ctonnx.spec": json.dumps(spec)})
    onnx.save(made, file)


def make_run(
    name: str, created: str = "2026-01-01T00:00:00+00:00", exported: tuple[str, ...] = (), target: str = "x86"
) -> Run:
    """Makes a run below ./runs whose files are empty where their content does not matter."""
    run = Run(RUNS / name)
    run.export_folder.mkdir(parents=True)
    run.weights_file.touch()
    run.record_file.write_text(json.dumps({"created": created}), encoding="utf-8")
    for precision in exported:
        write_model(run.model_file(precision), target if precision == "int8" else None)
    return run
