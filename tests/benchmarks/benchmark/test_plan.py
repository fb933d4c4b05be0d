"""The plan for an archive: machines and core hours from a measured throughput."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli.main import main
from ctonnx.errors import CtonnxError
from ctonnx_bench.benchmark import plan as module
from ctonnx_bench.benchmark.plan import Throughput, measure_throughput, plan_for, seconds_of

MEASURED = Throughput(
    rates=(50.0, 40.0, 45.0),
    start=2.0,
    cores=2,
    cpu="a processor",
    model="model.int8.onnx (int8 on cpu)",
    folder="scans",
    files=20,
    bytes_per_image=200_000,
    failed=0.0,
)


def test_machines_are_those_of_the_slowest_pass_and_the_start_counts() -> None:
    plan = plan_for(400_000, 1002.0, MEASURED)
    assert plan.machines == 10  # 40 images/s for 1000 s are 40,000
    assert plan_for(400_001, 1002.0, MEASURED).machines == 11
    assert plan_for(400_000, 1001.9, MEASURED).machines == 11
    assert plan.hours_on_one == pytest.approx(400_000 / 45 / 3600)
    assert plan.core_hours == pytest.approx(2 * 400_000 / 45 / 3600)
    assert plan.bytes_per_second == pytest.approx(400_000 * 200_000 / 1000)


def test_plan_is_shown_with_its_assumptions() -> None:
    assert plan_for(10_000_000, 8 * 3600.0, replace(MEASURED, failed=0.05)).lines() == [
        "10,000,000 images in 8 h: 9 machines like this one, 18 cores in all",
        "work: 123.5 core hours; 61.7 h on this machine alone",
        "store and network: 69.4 MB/s to all machines together, 2.000 TB in all",
        "measured: 45.0 images/s (40.0 to 50.0 in 3 passes) on 2 cores of a processor, model.int8.onnx (int8 on cpu); "
        "20 files of 200 kB per image in 'scans'; start 2.0 s",
        "assumptions:",
        "- the images are like these files: as large, of the same formats",
        "- the machines are like this one, and do nothing else; so was this one while it was measured",
        "- the store delivers at that rate: here the files were in memory after the first pass",
        "- one process for each machine, with one shard of 9: they share nothing, so that their rates add up",
        "- the number of machines is by the slowest pass, and includes the start; not the time to get machines",
        "- 5.0% of the images could not be read; they count as images",
        "start each with: ctonnx predict PATH --shard I/9 --resume --output parts/I.jsonl",
    ]
    assert plan_for(1, 60.0, MEASURED).lines()[0] == "1 images in 1 min: 1 machine like this one, 2 cores in all"


def test_deadline_before_the_start_is_an_error() -> None:
    with pytest.raises(CtonnxError, match=r"expected a deadline after the start of a process, 2\.0 s, found 2 s"):
        plan_for(1, 2.0, MEASURED)


@pytest.mark.parametrize(("text", "seconds"), [("8h", 28800), ("90 min", 5400), ("0.5d", 43200), (" 30s", 30)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["8", "h", "-1h", "0h", "8 hours", "1e3s", "nan h", ""])
def test_other_texts_are_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 8h, 90min, 2d or 30s, found"):
        seconds_of(text)


def test_throughput_is_that_of_real_files(model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    found = measure_throughput(model, str(phantoms / "test"), threads=1, duration=0.2, passes=2, log=lines.append)
    files = list((phantoms / "test").rglob("*.png"))
    assert len(found.rates) == 2
    assert all(rate > 0 for rate in found.rates)
    assert (found.files, found.cores, found.failed) == (len(files), 1, 0.0)
    assert found.bytes_per_image == pytest.approx(sum(file.stat().st_size for file in files) / len(files))
    assert lines == [f"[{number}/2] {rate:.1f} images/s" for number, rate in enumerate(found.rates, start=1)]


def test_rate_counts_the_images_of_the_time_that_they_took(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file takes a second by this clock, so a pass of 10 seconds has 11 files."""
    clock = [0.0]
    monkeypatch.setattr("ctonnx_bench.benchmark.plan.time.perf_counter", lambda: clock[0])

    class Slow:
        def predict_many(self, files: list[str]) -> list[str]:
            taken = []
            for file in files:
                clock[0] += 1
                taken.append(file)
            return taken

    made: list[str] = []
    rate = module._rate(Slow(), ["a", "b"], 10.0, lambda record, picture: made.append(record))  # type: ignore[arg-type]
    assert made == ["a", "b"] * 5 + ["a"]
    assert rate == 1.0


def test_folder_whose_images_cannot_be_read_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(CtonnxError, match=r"expected images that can be read in '.*', found 1 failures: .*empty"):
        measure_throughput(model, str(tmp_path), duration=0.1, passes=1)


# --- the command -----------------------------------------------------------------------------------------------------


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, ["bench", *words])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """Works in a folder with scans/, and measures nothing; returns the arguments of the measurement."""
    given: dict[str, object] = {}

    def measure(model: Path | None, folder: str, **options: object) -> Throughput:
        given.update(options, model=model, folder=folder)
        return MEASURED

    monkeypatch.setattr(module, "measure_throughput", measure)
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    return given


PLAN = ("--plan", "10e6", "--deadline", "8h", "--end-to-end", "scans")


def test_command_prints_the_plan(measured: dict[str, object]) -> None:
    result = bench(*PLAN, "a.onnx", "--threads", "2", "--rounds", "3", "--duration", "6")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == plan_for(10_000_000, 28800.0, MEASURED).lines()
    del measured["log"]
    assert measured == {
        "model": Path("a.onnx"),
        "folder": "scans",
        "provider": "cpu",
        "threads": 2,
        "passes": 3,
        "duration": 6.0,
    }
    document = json.loads(bench(*PLAN, "--json").stdout)
    assert (document["machines"], document["throughput"]["rates"]) == (9, [50.0, 40.0, 45.0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plan", "10e6", "--deadline", "8h"), "expected --end-to-end for a plan, found none"),
        (("--plan", "10e6", "--end-to-end", "scans"), "expected --deadline for a plan, found none"),
        (("--deadline", "8h"), "expected --plan for a plan, found none"),
        ((*PLAN, "--peers", "all"), "expected --plan without --peers, found both"),
        ((*PLAN, "--output", "x"), "expected --plan without --output, found both"),
        ((*PLAN, "a", "b"), "expected one model for --plan, found 2"),
        (("--plan", "1.5"), "expected a number of images such as 10e6, found '1.5'"),
        (("--plan", "many"), "expected a number of images such as 10e6, found 'many'"),
        (("--plan", "0"), "expected a number of images such as 10e6, found '0'"),
        (("--plan", "inf"), "expected a number of images such as 10e6, found 'inf'"),
        (("--plan", "1", "--deadline", "soon"), "expected a time such as 8h, 90min, 2d or 30s, found 'soon'"),
    ],
)
def test_wrong_plans_are_rejected(measured: dict[str, object], words: tuple[str, ...], message: str) -> None:
    result = bench(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert measured == {}
