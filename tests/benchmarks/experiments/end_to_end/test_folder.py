"""The comparison on a folder: whole processes in turn, checked predictions, and a table with its raw samples."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.artifacts.run import Run
from ctonnx_bench.experiments.end_to_end import folder
from ctonnx_bench.experiments.end_to_end.folder import (
    CASES,
    Agreement,
    Contender,
    breakdown,
    compare,
    main,
    measure,
    table,
)
from ctonnx_bench.experiments.end_to_end.peers.peer import PEERS, read_rows
from ctonnx_bench.experiments.scans import draw_scans
from ctonnx_bench.measurement.processes import Measured, Sample

HEAD = "file,label,probability\n"


def samples(*seconds: float, megabytes: float) -> dict[str, list[Sample]]:
    return {case: [Sample(value, int(megabytes * 1e6)) for value in seconds] for case in CASES}


def test_table_has_medians_spreads_and_ratios_paired_round_by_round() -> None:
    own = samples(1.0, 2.0, 4.0, megabytes=250)
    # Round by round PyTorch takes 10, 3 and 4 times as long; the ratio of the medians would be 5.
    theirs = samples(10.0, 6.0, 16.0, megabytes=1000)
    lines = table({"ctonnx FP32": own, "PyTorch eager": theirs}, 40)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["measurement", "ctonnx FP32", "PyTorch eager"]
    assert cells[2:] == [
        ["folder of 40, s", "2.00 (1.00 to 4.00) 4.00x", "10.00 (6.00 to 16.00)"],
        ["folder of 40, images/s", "20.0 (10.0 to 40.0) 4.00x", "4.0 (2.5 to 6.7)"],
        ["one scan, cold process, s", "2.00 (1.00 to 4.00) 4.00x", "10.00 (6.00 to 16.00)"],
        ["peak memory, folder, MB", "250 (250 to 250) 4.00x", "1000 (1000 to 1000)"],
        ["peak memory, one scan, MB", "250 (250 to 250) 4.00x", "1000 (1000 to 1000)"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_table_without_pytorch_has_no_ratios() -> None:
    assert "x |" not in "\n".join(table({"ctonnx FP32": samples(1.0, megabytes=1)}, 4))


def test_predictions_are_compared_by_file_name_and_differences_are_kept() -> None:
    reference = read_rows(HEAD + "scans/a.png,normal,0.75\nscans/b.png,nodule,0.5\n")
    good = compare(reference, read_rows(HEAD + "/elsewhere/a.png,normal,0.75\nb.png,nodule,0.625\n"), Agreement(0))
    assert good == Agreement(2, (), 0.125)
    bad = compare(reference, read_rows(HEAD + "a.png,nodule,0.75\n"), good)
    assert bad == Agreement(2, ("a.png", "b.png"), 0.125)
    assert compare(reference, reference, bad) == bad
    assert compare({"a.png": ("normal", 0.75)}, reference, good) == good


@pytest.mark.parametrize(
    ("agreement", "holds"),
    [(Agreement(2, (), 0.0), True), (Agreement(2, ("a.png",), 0.0), False), (Agreement(2, (), 0.02), False)],
)
def test_agreement_requires_every_label_and_its_probability(agreement: Agreement, holds: bool) -> None:
    assert agreement.holds is holds


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the commands instead of running them; each prints the second word of its command."""
    noted: list[str] = []

    def note(command: Sequence[str], _: Path) -> Measured:
        noted.append(f"{command[0]} {command[2]}")
        return Measured(Sample(len(noted), 1), 0.0, HEAD + command[1], "")

    monkeypatch.setattr(folder, "launch", note)
    return noted


def test_contenders_take_turns_after_a_process_that_is_not_counted(launched: list[str], tmp_path: Path) -> None:
    contenders = [
        Contender(title, (name, f"a.png,{label},0.5\n", "PATH"))
        for title, name, label in (("ctonnx INT8", "A", "other"), ("ctonnx FP32", "B", "one"), ("Peer", "C", "one"))
    ]
    found, agreements = measure(contenders, {"folder": Path("many"), "one scan": Path("one")}, tmp_path, 2)
    assert launched[:3] == ["C one", "B one", "A one"]
    assert launched[3:9] == ["A many", "B many", "C many", "A one", "B one", "C one"]
    assert launched[9:] == ["C many", "B many", "A many", "C one", "B one", "A one"]
    assert [sample.seconds for sample in found["ctonnx INT8"]["folder"]] == [4, 12]
    assert agreements == {"ctonnx INT8": Agreement(1, ("a.png",)), "Peer": Agreement(1)}


def test_missing_peers_are_skipped_with_a_reason(
    exported_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "find_spec", lambda name: None if name in ("ultralytics", "transformers") else object())
    found, skipped = folder._contenders(exported_run.folder, list(PEERS), tmp_path)
    assert [item.title for item in found] == ["ctonnx FP32", "PyTorch eager"]
    assert skipped == {
        "ctonnx INT8": "not exported; ctonnx export --precision all",
        "Ultralytics": "ultralytics not installed; pip install ultralytics",
        "Optimum": "transformers not installed; pip install optimum-onnx",
    }
    assert found[0].command[1:] == (
        "-m", "ctonnx", "predict", "--model", str(exported_run.model_file("fp32")), "--format", "csv", "PATH",
    )  # fmt: skip


def test_tiny_run_from_end_to_end(exported_run: Run, tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    options = ["--images", "4", "--rounds", "1", "--peers", "pytorch", "--json", str(file)]
    result = CliRunner().invoke(main, [str(exported_run.folder), *options])
    assert result.exit_code == 0, result.output
    head, _, titles, *_ = result.stdout.splitlines()
    assert head.startswith(f"{exported_run.name}: 4 grey PNG scans of 512x512, ")
    assert [cell.strip() for cell in titles.strip("|").split("|")] == ["measurement", "ctonnx FP32", "PyTorch eager"]
    assert "ctonnx INT8: skipped, not exported; ctonnx export --precision all" in result.stdout
    assert "PyTorch eager: same labels as ctonnx FP32 on 4 of 4 scans, largest difference" in result.stdout
    found = json.loads(file.read_text(encoding="utf-8"))
    assert set(found["samples"]) == set(found["commands"]) == {"ctonnx FP32", "PyTorch eager"}
    for cases in found["samples"].values():
        assert set(cases) == set(CASES)
        assert all(len(taken) == 1 and taken[0]["seconds"] > 0 for taken in cases.values())
        assert all(taken[0]["peak_bytes"] > 20_000_000 for taken in cases.values())
    assert {"cpu", "cores_allowed", "system", "load_average", "python", "versions"} <= set(found["environment"])
    assert {"ctonnx", "onnxruntime", "torch"} <= set(found["environment"]["versions"])
    assert found["images"]["count"] == 4
    assert found["images"]["mean_bytes"] > 50_000


def test_peer_with_another_prediction_ends_with_1_after_the_table(
    exported_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = samples(1.0, megabytes=1)
    found = {"ctonnx FP32": taken, "PyTorch eager": taken}, {"PyTorch eager": Agreement(4, ("scan_00002.png",))}
    monkeypatch.setattr(folder, "measure", lambda *arguments: found)
    file = tmp_path / "samples.json"
    options = ["--images", "1", "--rounds", "1", "--peers", "pytorch", "--json", str(file)]
    result = CliRunner().invoke(main, [str(exported_run.folder), *options])
    assert result.exit_code == 1
    assert "| measurement " in result.stdout
    assert result.stderr == "Error: expected the predictions of ctonnx FP32, found others of PyTorch eager\n"
    assert file.is_file()


def test_stages_add_up_to_the_whole_process(model: Path, tmp_path: Path) -> None:
    scans = draw_scans(tmp_path / "scans", 5)
    found = breakdown(model, {"folder": tmp_path / "scans", "one scan": scans[0]}, tmp_path, 1)
    for stages in (found["folder"][0], found["one scan"][0]):
        assert list(stages) == [
            "interpreter, imports", "session load", "decode", "resize", "inference", "output", "the rest",
        ]  # fmt: skip
        assert min(stages.values()) > 0
    lines = folder._stage_table("folder", [{"decode": 1.0, "the rest": 3.0}, {"decode": 1.0, "the rest": 3.0}])
    assert [line.split() for line in lines[1:]] == [
        ["decode", "1.000", "s", "25.0%"],
        ["the", "rest", "3.000", "s", "75.0%"],
        ["all", "4.000", "s"],
    ]
    assert len(read_rows((tmp_path / "stdout").read_text(encoding="utf-8"))) == 1


def test_wrong_use_is_rejected(exported_run: Run, tmp_path: Path) -> None:
    unknown = CliRunner().invoke(main, [str(exported_run.folder), "--peers", "pytorch,other"])
    assert unknown.exit_code == 2
    assert "expected some of pytorch,ultralytics,optimum, found 'other'" in unknown.stderr
    nothing = CliRunner().invoke(main, [str(tmp_path / "nothing")])
    assert nothing.exit_code == 2
    assert "expected a run's folder" in nothing.stderr
