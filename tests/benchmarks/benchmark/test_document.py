"""A whole benchmark: real processes on a tiny run, the possible references, and wrong outputs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.benchmarks.conftest import QUIET

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.onnx_file.integrity import content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.errors import CtonnxError, ProviderError
from ctonnx.parity.outputs import Outputs
from ctonnx.system.files import json_text
from ctonnx_bench.benchmark import document as benchmark
from ctonnx_bench.benchmark.document import run_benchmark
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.contenders import Contender
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.measurement.rounds import Bench, CaseFailed, Round
from ctonnx_train.data.phantom.drawing import CLASSES as PHANTOM_CLASSES

QUICK = Settings(batch_sizes=(1,), duration=0.0, rounds=1, threads=1)


def run(settings: Settings) -> dict[str, Any]:
    return run_benchmark(settings, command="ctonnx bench", log=lambda line: None)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Callable[..., None]:
    """Replaces the processes: each case returns the golden outputs of PyTorch, unless set otherwise."""
    golden = load_golden(Path("runs/tiny/export/golden.npz"))
    results: dict[str, Outputs | Exception] = {}
    rounds: dict[str, Round] = {}

    def outputs(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        found = results.get(case.contender.title, golden.outputs)
        if isinstance(found, Exception):
            raise found
        return found

    def choose(title: str, found: Outputs | Exception | None = None, measured: Round = QUIET) -> None:
        if found is not None:
            results[title] = found
        rounds[title] = measured

    monkeypatch.setattr(Bench, "outputs", outputs)
    monkeypatch.setattr(Bench, "round", lambda self, case, seconds: rounds.get(case.contender.title, QUIET))
    return choose


def other_outputs() -> Outputs:
    outputs = load_golden(Path("runs/tiny/export/golden.npz")).outputs
    return replace(outputs, probabilities=outputs.probabilities[:, ::-1].copy(), logits=outputs.logits[:, ::-1].copy())


def test_fresh_run_is_measured_in_processes_of_its_own(workspace: Path) -> None:
    messages: list[str] = []
    document = run_benchmark(replace(QUICK, batch_sizes=(1, 2)), command="ctonnx bench", log=messages.append)
    assert document["passed"]
    assert [case["name"] for case in document["cases"]] == [
        "ctonnx FP32 | batch 1 | cpu | 1 threads | ready pixels at 64",
        "ctonnx FP32 | batch 2 | cpu | 1 threads | ready pixels at 64",
    ]
    assert document["checked_on"]["reference"] == "PyTorch, as kept in golden.npz"
    for case in document["cases"]:
        assert case["parity"]["max_dp"] <= 1e-4
        assert max(case["largest_differences_while_timed"].values()) <= 1e-5
        assert case["times_as_fast"] == {"than": "FP32", "value": 1.0, "low": 1.0, "high": 1.0}
        (only,) = case["rounds"]
        assert len(only["samples_s"]) >= 5
        assert any(warning.startswith("few: ") for warning in case["doubts"]) == (case["figures"]["runs"] < 20)
        assert only["cold_start_s"] > only["open_s"] > 0
        assert case["figures"]["peak_bytes"] > 50_000_000
    assert document["models"][0]["sha256"]
    assert messages[:2] == ["computing outputs: ctonnx FP32, batch 1", "computing outputs: ctonnx FP32, batch 2"]
    assert messages[-1] == "[2/2] ctonnx FP32, batch 2"
    assert json.loads(json_text(document))["schema_version"] == 1


def test_wrong_fp32_is_found_on_the_golden_inputs_for_any_images(workspace: Path, phantoms: Path) -> None:
    file = Path("runs/tiny/export/model.fp32.onnx")
    model = onnx.load(file)
    last = next(item for item in model.graph.initializer if list(item.dims) == [len(PHANTOM_CLASSES)])
    shifted = onnx.numpy_helper.to_array(last) + np.array([9, 0, 0, 0], np.float32)
    last.CopyFrom(onnx.numpy_helper.from_array(shifted, last.name))
    (kept,) = (item for item in model.metadata_props if item.key == METADATA_KEY)
    checksum = content_checksum(model.SerializeToString())  # as of a file that was exported wrong
    kept.value = json.dumps({**json.loads(kept.value), "content_checksum": checksum})
    onnx.save(model, file)
    document = run(replace(QUICK, data=phantoms))
    assert not document["passed"]
    assert document["checked_on"]["reference_wrong"]
    (case,) = document["cases"]
    assert case["parity"]["max_dp"] == 0  # it is the reference
    assert case["failures"][0].startswith("on the golden inputs, max |dp| is ")


def test_file_with_other_class_names_is_a_failure_although_its_outputs_are_right(workspace: Path) -> None:
    file = Path("runs/tiny/export/model.fp32.onnx")
    model = onnx.load(file)
    (kept,) = (item for item in model.metadata_props if item.key == METADATA_KEY)
    first, second = PHANTOM_CLASSES[:2]
    kept.value = kept.value.replace(first, "*").replace(second, first).replace("*", second)
    onnx.save(model, file)
    document = run(QUICK)
    assert not document["passed"]
    (case,) = document["cases"]
    (failure,) = case["failures"]
    assert "it was altered since, or its golden.npz is of another export" in failure


def test_files_are_timed_from_the_file_to_the_prediction(workspace: Path, phantoms: Path) -> None:
    document = run(replace(QUICK, files=str(phantoms / "test")))
    assert document["passed"]
    assert document["checked_on"]["about"].endswith(f"files in {phantoms / 'test'}")
    assert document["checked_on"]["reference"] == "ctonnx FP32"


def test_missing_provider_is_the_commands_error(workspace: Path) -> None:
    with pytest.raises(ProviderError, match=r"^the provider 'cuda' "):
        run(replace(QUICK, provider="cuda"))


def test_fast_wrong_model_is_a_failure(faked: Callable[..., None]) -> None:
    faked("ctonnx FP32", other_outputs())
    document = run(QUICK)
    assert not document["passed"]
    assert document["cases"][0]["failures"][0].startswith("max |dp| is ")


@pytest.mark.parametrize("largest", [0.5, np.nan, np.inf])
def test_output_that_changes_while_it_is_timed_is_a_failure(faked: Callable[..., None], largest: float) -> None:
    faked("ctonnx FP32", measured=replace(QUIET, largest_dp=largest))
    document = run(QUICK)
    assert not document["passed"]
    assert document["cases"][0]["failures"][0].startswith("while it was timed, a probability differed by")


@pytest.mark.parametrize(
    ("name", "measured"),
    [("logit", replace(QUIET, largest_dlogit=0.01)), ("heatmap", replace(QUIET, largest_dheatmap=0.01))],
)
def test_logit_or_heatmap_that_changes_while_it_is_timed_is_a_failure(
    faked: Callable[..., None], name: str, measured: Round
) -> None:
    faked("ctonnx FP32", measured=measured)
    document = run(QUICK)
    assert document["cases"][0]["failures"] == [
        f"while it was timed, a {name} differed from its own output before by 0.01 times the largest, at most 0.001 is "
        "allowed"
    ]
    assert document["mlperf"] == {}


def test_wrong_peer_is_named_and_is_not_ctonnxs_failure(faked: Callable[..., None]) -> None:
    faked("onnxruntime, plain", other_outputs())
    document = run(replace(QUICK, peers=("onnxruntime",)))
    assert document["passed"]
    assert [bool(case["failures"]) for case in document["cases"]] == [False, True]


def test_peer_that_fails_is_skipped_with_the_reason(faked: Callable[..., None]) -> None:
    faked("onnxruntime, plain", CaseFailed("no memory"))
    document = run(replace(QUICK, peers=("onnxruntime",), batch_sizes=(1, 2)))
    assert document["skipped"] == {"onnxruntime, plain": "it failed: no memory"}
    assert {case["title"] for case in document["cases"]} == {"ctonnx FP32"}


def test_case_that_fails_in_a_later_round_is_a_failure_and_the_others_are_kept(
    faked: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def fail(self: Bench, case: Case, seconds: float) -> Round:
        if case.batch_size in done or (case.batch_size == 4):
            raise CtonnxError("no memory")
        done.extend([2] if case.batch_size == 2 else [])
        return QUIET

    faked("ctonnx FP32")
    monkeypatch.setattr(Bench, "round", fail)
    document = run(replace(QUICK, batch_sizes=(1, 2, 4), rounds=2))
    assert not document["passed"]
    assert [(case["batch_size"], case["failures"]) for case in document["cases"]] == [
        (1, []), (2, ["it failed in a later round: no memory"]),
    ]  # fmt: skip
    assert sorted(document["broken"]) == [
        f"ctonnx FP32 | batch {size} | cpu | 1 threads | ready pixels at 64" for size in (2, 4)
    ]
    with pytest.raises(CtonnxError, match="no memory"):
        run(replace(QUICK, batch_sizes=(4,)))


def test_peer_that_makes_its_model_makes_it_once(faked: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    opened: list[Path] = []

    def prepare(self: Bench, case: Case) -> Case:
        prepared.append(case.contender.title)
        return case.of(replace(case.contender, model=Path("its.xml"), size=77))

    peer = Contender("OpenVINO, its INT8", "openvino-int8", Path("m.onnx"), "int8", 1)
    monkeypatch.setattr(benchmark, "find_peers", lambda *arguments: ([peer], {}))
    monkeypatch.setattr(Bench, "prepare", prepare)
    before = Bench.outputs

    def note(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        opened.append(case.contender.model)
        return before(self, case, others)

    monkeypatch.setattr(Bench, "outputs", note)
    document = run(replace(QUICK, peers=("openvino-int8",), batch_sizes=(1, 2)))
    assert document["checked_on"]["calibrated_on_them"]
    assert prepared == ["OpenVINO, its INT8"]
    assert opened.count(Path("its.xml")) == 2
    assert [case["bytes"] for case in document["cases"] if not case["own"]] == [77, 77]


def test_reference_is_pytorch_where_a_run_is_named(faked: Callable[..., None]) -> None:
    faked("PyTorch, the reference", other_outputs())
    document = run(replace(QUICK, reference=Path("tiny")))
    assert document["checked_on"]["reference"] == "PyTorch, computed here"
    assert not document["passed"]
    faked("PyTorch, the reference", CaseFailed("No module named 'torch'"))
    with pytest.raises(CtonnxError, match=r"of PyTorch for --reference, found: No module named 'torch'; it needs: pip"):
        run(replace(QUICK, reference=Path("tiny")))


def test_data_without_fp32_has_no_reference(faked: Callable[..., None], phantoms: Path) -> None:
    export = Path("runs/tiny/export")
    model = onnx.load(export / "model.fp32.onnx")
    for item in model.metadata_props:
        item.value = item.value.replace('"precision": "fp32"', '"precision": "int8"')
    onnx.save(model, export / "model.int8.onnx")
    (export / "model.fp32.onnx").unlink()
    with pytest.raises(CtonnxError, match=r"expected model.fp32.onnx beside .*, or name the run with --reference RUN"):
        run(replace(QUICK, data=phantoms))


def test_batch_that_does_not_fit_into_memory_is_rejected_before_it_is_allocated(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "memory_limit", lambda: 1_000_000_000)
    monkeypatch.setattr(benchmark, "Bench", None)
    with pytest.raises(CtonnxError) as raised:
        run(replace(QUICK, batch_sizes=(1, 100_000)))
    assert str(raised.value) == (
        "expected batches that fit into the 1.0 GB of memory available to this process, found one of 100000 images, "
        "which needs about 73 GB; choose a smaller --batch-size"
    )
