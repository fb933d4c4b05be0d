"""A task is the same after it was written as JSON and read again."""

from pathlib import Path

from ctonnx_bench.cases.task import Task


def test_task_is_the_same_after_json() -> None:
    task = Task(
        adapter="ctonnx", model=Path("m"), provider="cpu", threads=1, pixels="p", files=("a",), window={"width": 1}
    )
    assert Task.from_json(task.to_json()) == task
