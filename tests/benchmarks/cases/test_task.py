"""A task is the same after it was written as JSON and read again."""

from ctonnx_bench.cases.task import Task


def test_task_is_the_same_after_json() -> None:
    task = Task(adapter="ctonnx", model="m.onnx", threads=1, pixels="p.npy", files=("a.png",), window={"width": 1.0})
    assert Task.from_json(task.to_json()) == task
