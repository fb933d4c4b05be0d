"""`ctonnx bench`: its output, files and exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli.main import main
from ctonnx.system.text import Log
from ctonnx_bench.benchmark import workflow
from ctonnx_bench.benchmark.family import workflow as family_workflow
from ctonnx_bench.benchmark.workflow import Report
from ctonnx_bench.cases.settings import Settings


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], no_plots: None, tmp_path: Path
) -> Callable[..., Result]:
    """Runs the command in an empty folder, with the document as the result of the measurement."""
    monkeypatch.chdir(tmp_path)

    def measure(settings: Settings, *, command: str, log: Log) -> dict[str, Any]:
        given.append(settings)
        log("[1/1] measuring")
        return document

    monkeypatch.setattr(workflow, "run_benchmark", measure)
    given: list[Settings] = []

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["bench", *arguments])
        result.settings = given[-1] if given else None  # type: ignore[attr-defined]
        return result

    return run


def test_table_is_on_stdout_and_progress_on_stderr(bench: Callable[..., Result]) -> None:
    result = bench()
    assert result.exit_code == 0, result.output
    assert "ctonnx INT8" in result.stdout
    assert "[1/1] measuring" not in result.stdout
    assert result.stderr.splitlines() == [
        "[1/1] measuring",
        "written: bench/bench.json",
        "written: bench/bench.md",
        "written: bench/bench.html",
    ]


def test_json_is_one_document(bench: Callable[..., Result]) -> None:
    result = bench("--json", "--output", "out")
    assert json.loads(result.stdout)["tool"] == "ctonnx bench"
    assert sorted(file.name for file in Path("out").iterdir()) == ["bench.html", "bench.json", "bench.md"]


def test_newer_run_without_an_export_is_named_unless_a_model_is(bench: Callable[..., Result]) -> None:
    for name, created in (("old", "2026-01-01"), ("new", "2027-01-01")):
        run = Path("runs") / name
        (run / "export").mkdir(parents=True)
        (run / "model.safetensors").touch()
        (run / "run.json").write_text(json.dumps({"created": created}))
    Path("runs/old/export/model.fp32.onnx").touch()
    note = "note: run 'new' was trained later and has no export, so 'old' is used; export it with: ctonnx export"
    assert bench().stderr.startswith(f"{note} runs/new\n")
    assert note not in bench("runs/old").stderr


def test_options_reach_the_benchmark(bench: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = ["--batch-size", "8,1,8", "--threads", "2", "--duration", "3", "--rounds", "4", "--data", "data"]
    settings = bench("a.onnx", "b.onnx", *options, "--peers", "pytorch,openvino", "--reference", "lungs").settings  # type: ignore[attr-defined]
    assert settings == Settings(
        models=(Path("a.onnx"), Path("b.onnx")),
        batch_sizes=(8, 1),
        threads=2,
        duration=3.0,
        rounds=4,
        data=Path("data"),
        reference=Path("lungs"),
        peers=("pytorch", "openvino"),
    )
    assert len(bench("--peers", "all").settings.peers) == 9  # type: ignore[attr-defined]
    assert bench("--end-to-end", "data").settings.files == "data"  # type: ignore[attr-defined]


def test_wrong_outputs_end_with_1_after_the_table(bench: Callable[..., Result], document: dict[str, Any]) -> None:
    document["cases"][1]["failures"] = ["max |dp| is 1"]
    document["cases"][2]["failures"] = ["max |dp| is 2"]
    result = bench()
    assert result.exit_code == 1
    assert "FAILED: ctonnx INT8, batch 1: max |dp| is 1" in result.stdout
    assert result.stderr.splitlines()[-1] == (
        "Error: expected right outputs, found wrong ones of ctonnx INT8 | batch 1 | cpu | 2 threads | "
        "ready pixels at 224"
    )
    assert Path("bench/bench.json").is_file()


def test_case_that_could_not_be_measured_to_the_end_is_exit_code_1(
    bench: Callable[..., Result], document: dict[str, Any]
) -> None:
    document["broken"]["ctonnx FP16 | batch 1"] = "no memory"
    result = bench()
    assert result.exit_code == 1
    assert "FAILED: ctonnx FP16 | batch 1: no memory" in result.stdout
    assert "expected ctonnx FP16 | batch 1 to be measured in every round, found that it failed: no memory" in (
        result.stderr
    )


def test_planted_regression_ends_with_1(bench: Callable[..., Result], make_document: Any) -> None:
    Path("old.json").write_text(json.dumps(make_document(slower=0.8)), encoding="utf-8")
    result = bench("--compare", "old.json")
    assert result.exit_code == 1
    assert "REGRESSION" in result.stdout
    assert (
        "expected every measurement to be at most 10% worse, found p50 ms of ctonnx INT8 | batch 1 | cpu | 2 threads | "
        "ready pixels at 224 25% worse (10.40, now 13.00)"
    ) in result.stderr
    kept = json.loads(Path("bench/bench.json").read_text(encoding="utf-8"))["compared_with"]
    assert kept["fail_over"] == 0.1
    assert kept["changes"][0]["worse"] == pytest.approx(0.25)
    assert bench("--compare", "old.json", "--fail-over", "30%").exit_code == 0
    assert bench("--compare", "old.json", "--fail-over", "24").exit_code == 1


def test_case_of_the_earlier_report_that_is_missing_is_a_failure(
    bench: Callable[..., Result], document: dict[str, Any], make_document: Any
) -> None:
    Path("old.json").write_text(json.dumps(make_document()), encoding="utf-8")
    del document["cases"][2]  # a peer
    assert bench("--compare", "old.json").exit_code == 0
    name = document["cases"].pop(0)["name"]
    result = bench("--compare", "old.json")
    assert result.exit_code == 1
    missing = f"expected {name}, which is in the earlier report, found that it was not measured now"
    assert missing in result.stderr
    document["cases"][0]["failures"] = ["max |dp| is 1"]
    wrong, second = bench("--compare", "old.json").stderr.splitlines()[-2:]
    assert wrong.startswith("Error: expected right outputs, found wrong ones")
    assert second == missing


def test_regression_of_an_unreliable_measurement_is_marked(
    bench: Callable[..., Result], document: dict[str, Any], make_document: Any
) -> None:
    Path("old.json").write_text(json.dumps(make_document(slower=0.8)), encoding="utf-8")
    document["cases"][1]["doubts"] = ["busy: others"]
    errors = bench("--compare", "old.json").stderr
    assert "13.00); the measurement is unreliable, measure both again on a quiet machine" in errors


def test_report_of_another_measurement_is_rejected_before_anything_is_measured(
    bench: Callable[..., Result], make_document: Any
) -> None:
    old = make_document()
    old["settings"]["files"] = "scans"
    Path("old.json").write_text(json.dumps(old), encoding="utf-8")
    result = bench("--compare", "old.json")
    assert result.exit_code == 2
    assert "found one from files (--end-to-end), while this is from ready pixels" in result.stderr
    assert result.settings is None  # type: ignore[attr-defined]


def test_folder_that_cannot_be_written_to_is_reported_before_anything_is_measured(bench: Callable[..., Result]) -> None:
    Path("file").write_text("", encoding="utf-8")
    for options in (["--output", "file/bench"], ["--publish", "file/results.md"]):
        result = bench(*options)
        assert result.exit_code == 2
        assert "Not a directory: " in result.stderr
        assert result.settings is None  # type: ignore[attr-defined]


def test_earlier_reports_that_are_replaced_are_named(bench: Callable[..., Result]) -> None:
    bench()
    assert "written: bench/bench.json, replacing an earlier one" in bench().stderr


def test_report_without_a_common_case_is_an_error_and_the_reports_are_written(
    bench: Callable[..., Result], make_document: Any
) -> None:
    old = make_document()
    for case in old["cases"]:
        case["name"] += ", elsewhere"
    Path("old.json").write_text(json.dumps(old), encoding="utf-8")
    result = bench("--compare", "old.json")
    assert result.exit_code == 2
    assert "expected cases that are in the earlier report too, found none" in result.stderr
    assert Path("bench/bench.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "pytorch,tvm"], "joined by commas, or all; found 'tvm'"),
        (["--peers", ","], "expected names joined by commas, or all; found ','"),
        (["--duration", "nan"], "expected a finite number, found nan"),
        (["--duration", "inf"], "inf is not in the range 0<=x<=86400"),
        (["--batch-size", "1,0"], "expected positive whole numbers joined by commas, found '0'"),
        (["--fail-over", "10%"], "expected --compare with --fail-over, found none"),
        (
            ["--compare", "none.json"],
            "expected the bench.json of an earlier ctonnx bench at 'none.json', found no file",
        ),
        (["--compare", "none.json", "--fail-over", "much"], "expected a percentage such as 10%, found 'much'"),
        (["--hardware", "mini-PC"], "expected --publish with --hardware, found none"),
        (["--publish", "mine.md"], "expected a file for --publish that ctonnx bench wrote, or none"),
        (["--data", ".", "--end-to-end", "."], "expected --data or --end-to-end, found both"),
        (["--sweep", "threads", "--peers", "pytorch"], "expected --sweep without --peers and --end-to-end"),
        (["--names", "a,b"], "expected --family with --names, found none: it names the models of a family"),
        (["--family", "--names", "a,,b"], "expected names joined by commas, found an empty one in 'a,,b'"),
        (["--family", "--sweep", "threads"], "expected --family without --sweep: it measures ctonnx's models"),
        (["--family", "--peers", "pytorch"], "expected --family without --peers"),
        (["--family", "--end-to-end", "."], "expected --family without --end-to-end"),
        (["--family", "--reference", "tiny"], "expected --family without --reference"),
        (["--family", "--compare", "old.json"], "expected --family without --compare"),
        (["--family", "--publish", "results.md"], "expected --family without --publish"),
        (["--sweep", "threads", "--batch-size", "2,4"], "expected 1 among --batch-size with --sweep, found 2,4"),
    ],
)
def test_wrong_use_is_reported_before_anything_is_measured(
    bench: Callable[..., Result], arguments: list[str], message: str
) -> None:
    Path("mine.md").write_text("my own text", encoding="utf-8")
    result = bench(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.settings is None  # type: ignore[attr-defined]
    assert not Path("bench").exists()


def test_stopped_benchmark_leaves_nothing(bench: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "run_benchmark", stop)
    assert bench().exit_code == 130
    assert not Path("bench").exists()


def test_results_are_published_if_they_are_right(bench: Callable[..., Result], document: dict[str, Any]) -> None:
    result = bench("--publish", "results.md", "--hardware", "mini-PC")
    assert (
        "published: results.md, section 'mini-PC: lungs on cpu, 2 threads, 224 pixels, from pixels to the prediction'"
        in result.stderr
    )
    assert "## mini-PC: lungs on cpu, 2 threads" in Path("results.md").read_text(encoding="utf-8")
    document["cases"][0]["failures"], document["passed"] = ["max |dp| is 1"], False
    assert bench("--publish", "wrong.md").exit_code == 1
    assert not Path("wrong.md").exists()


def test_worse_or_unreliable_measurements_are_not_published(
    bench: Callable[..., Result], document: dict[str, Any], make_document: Any
) -> None:
    Path("old.json").write_text(json.dumps(make_document(slower=0.8)), encoding="utf-8")
    result = bench("--publish", "results.md", "--compare", "old.json")
    assert result.exit_code == 1
    assert "not published because of the failures below; results.md is unchanged" in result.stderr
    document["cases"][2]["doubts"] = ["busy: a peer's"]
    assert bench("--publish", "results.md").exit_code == 0
    Path("results.md").unlink()
    document["cases"][1]["doubts"] = ["busy: others"]
    result = bench("--publish", "results.md")
    assert result.exit_code == 1
    assert (
        "expected reliable measurements of ctonnx for --publish, found unreliable ones, such as ctonnx INT8"
        in result.stderr
    )
    assert "busy: others; measure again on a quiet machine" in result.stderr
    assert not Path("results.md").exists()


def test_sweep_on_a_busy_machine_saves_nothing_with_a_message(workspace: Path) -> None:
    options = ["--threads", "1", "--batch-size", "1", "--duration", "0", "--rounds", "1"]
    result = CliRunner().invoke(main, ["bench", "--sweep", "threads", *options])
    assert result.exit_code == 0, result.output
    assert "not saved: the best settings of " in result.stderr
    assert "few: 5 runs" in result.stderr
    assert not Path("runs/tiny/export/model.fp32.tuned.json").exists()
    assert sorted(file.name for file in Path("runs/tiny/bench").iterdir()) == ["sweep.html", "sweep.json", "sweep.md"]


@pytest.mark.parametrize("package", ["psutil", "matplotlib"])
def test_missing_extra_is_reported_before_anything_is_measured(package: str, workspace: Path) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None; sys.argv = ['ctonnx', 'bench']; "
        "from ctonnx.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: 'ctonnx bench' needs the package '{package}', which is not installed; "
        'pip install "ctonnx[cpu,bench]"\n'
    )


def test_bench_without_a_model_names_the_missing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["bench"])
    assert result.exit_code == 2
    assert "expected a trained run below 'runs/'" in result.stderr


def test_family_is_measured_with_its_labels_and_prints_its_own_table(
    bench: Callable[..., Result], document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("data").mkdir()
    given: list[Any] = []
    failures: list[str] = []

    def measure(settings: Settings, labels: tuple[str, ...], output: Path | None, *, command: str, log: Log) -> Report:
        given.extend([settings, labels, output])
        log("[1/1] measuring")
        return Report(document, None, ["written: out/family.json"], failures)

    monkeypatch.setattr(family_workflow, "measure_family", measure)
    monkeypatch.setattr("ctonnx_bench.benchmark.family.tables.terminal", lambda document: "the table")
    options = ["a", "b.onnx", "--family", "--names", "FP32, learned", "--data", "data", "--output", "out"]
    result = bench(*options)
    assert result.exit_code == 0, result.output
    assert given == [
        Settings(models=(Path("a"), Path("b.onnx")), data=Path("data")), ("FP32", "learned"), Path("out"),
    ]  # fmt: skip
    assert result.stdout == "the table\n"
    assert result.stderr.splitlines() == ["[1/1] measuring", "written: out/family.json"]
    assert json.loads(bench(*options, "--json").stdout)["tool"] == "ctonnx bench"
    failures.append("expected right outputs, found wrong ones of learned")
    result = bench(*options)
    assert (result.exit_code, result.stdout) == (1, "the table\n")
    assert result.stderr.endswith("Error: expected right outputs, found wrong ones of learned\n")


def test_family_needs_two_models(workspace: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "runs/tiny", "--family"])
    assert result.exit_code == 2
    assert "expected two or more models for --family, found 'runs/tiny/export/model.fp32.onnx' only" in result.stderr
    assert not Path("runs/tiny/bench").exists()
