"""The cases: compared ones are adjacent, and a GPU is measured with and without copies."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.benchmarks.conftest import INT8

from ctonnx_bench.cases.case import plan_cases
from ctonnx_bench.cases.contenders import Contender

THEIRS = Contender("PyTorch eager", "pytorch", Path("run"), "fp32", 1)


def test_contenders_of_one_batch_size_are_adjacent() -> None:
    cases = plan_cases([INT8, THEIRS], [1, 8], provider="cpu", threads=2)
    assert [case.name for case in cases] == [
        "ctonnx INT8 | batch 1 | cpu | 2 threads | ready pixels at 0",
        "PyTorch eager | batch 1 | cpu | 2 threads | ready pixels at 0",
        "ctonnx INT8 | batch 8 | cpu | 2 threads | ready pixels at 0",
        "PyTorch eager | batch 8 | cpu | 2 threads | ready pixels at 0",
    ]


def test_files_and_other_sizes_are_other_cases() -> None:
    (case,) = plan_cases([INT8], [1], provider="cpu", threads=2)
    assert replace(case, side=224, files=True).name == "ctonnx INT8 | batch 1 | cpu | 2 threads | files at 224"


def test_gpu_has_a_case_with_binding_and_one_with_copies() -> None:
    plain = Contender("onnxruntime, plain", "onnxruntime", Path("m.onnx"), "fp32", 1)
    cases = plan_cases([INT8, THEIRS, plain], [1], provider="cuda", threads=2)
    assert [(case.title, case.bound) for case in cases] == [
        ("ctonnx INT8, IO binding", True),
        ("ctonnx INT8, host copies", False),
        ("PyTorch eager, device-resident", True),
        ("PyTorch eager, host copies", False),
        ("onnxruntime, plain, host copies", False),
    ]
    files = plan_cases([INT8], [1], provider="cuda", threads=2, files=True)
    assert [case.bound for case in files] == [False]


def test_peers_of_openvino_compute_on_the_processor() -> None:
    cases = plan_cases([INT8, THEIRS], [1], provider="openvino", threads=2)
    assert [(case.title, case.provider) for case in cases] == [("ctonnx INT8", "openvino"), ("PyTorch eager", "cpu")]


def test_contender_that_cannot_be_a_peer_on_a_provider_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"can be compared with ctonnx on coreml, found PyTorch eager$"):
        plan_cases([THEIRS], [1], provider="coreml", threads=2)


def test_task_has_the_options_of_the_case() -> None:
    case = replace(plan_cases([INT8], [4], provider="cpu", threads=3)[0], spinning=False, workers=2)
    task = case.task(pixels=Path("p.npy"), outputs=Path("o.npz"), seconds=2.5)
    assert (task.adapter, task.model, task.threads) == ("ctonnx", Path("m.onnx"), 3)
    assert (task.spinning, task.workers) == (False, 2)
    assert (task.batch_size, task.pixels, task.outputs, task.seconds) == (4, "p.npy", "o.npz", 2.5)
