"""The cases of a sweep differ in threads, workers, batch size and spinning."""

from tests.benchmarks.conftest import INT8

from ctonnx_bench.cases.sweep import plan_sweep, thread_counts


def test_thread_counts_end_with_all_cores() -> None:
    assert [thread_counts(cores) for cores in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


def test_every_case_differs_from_the_others() -> None:
    cases = plan_sweep([INT8], [4], provider="cpu", cores=2)
    assert [(case.title, case.batch_size) for case in cases] == [
        ("ctonnx INT8, threads 1", 4),
        ("ctonnx INT8, threads 2", 4),
        ("ctonnx INT8, threads 2, no spinning", 4),
        ("ctonnx INT8, threads 2, workers 2", 8),
    ]
    assert len({case.name for case in plan_sweep([INT8], [1, 2, 4], provider="cpu", cores=8)}) == 3 * (1 + 3 * 3)
    assert {case.workers for case in plan_sweep([INT8], [1], provider="cuda", cores=8)} == {1}
