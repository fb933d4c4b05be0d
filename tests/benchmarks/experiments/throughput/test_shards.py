"""The check of shards against the whole run: it passes for right ones, and fails for a row that is lost."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.errors import CheckFailed
from ctonnx_bench.experiments import scans
from ctonnx_bench.experiments.throughput import shards
from ctonnx_bench.experiments.throughput.shards import check_shards, main


def test_shards_of_small_scans_are_the_whole_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "SIDE", 64)
    result = CliRunner().invoke(main, [str(model), "--scans", "60", "--shards", "1", "--shards", "2"])
    assert result.exit_code == 0, result.output
    first, whole, one, two = result.stdout.splitlines()
    assert first.endswith("cores, 60 scans and a damaged file")
    assert whole.startswith("whole run: 61 rows, 1 with an error, ")
    assert one.startswith("1 shards, one after the other: the same 61 rows, ")
    assert two.startswith("2 shards, one after the other: the same 61 rows, ")
    assert " s; 2/2 killed at " in two


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Replaces the processes: a merge writes the rows a and b."""
    ran: list[Sequence[str]] = []

    def run(command: Sequence[str], **options: object) -> "subprocess.CompletedProcess[str]":
        ran.append(command)
        if "--merge" in command:
            Path(command[-1]).write_bytes(b"b\na\n")
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_lost_row_fails_the_check(commands: list[Sequence[str]], tmp_path: Path) -> None:
    check_shards(Path("m"), Path("s"), tmp_path / "1", 1, [b"a", b"b"])
    with pytest.raises(CheckFailed, match="expected the 3 rows of the whole run from 1 shards, found 2: 1 miss"):
        check_shards(Path("m"), Path("s"), tmp_path / "2", 1, [b"a", b"b", b"c"])
    with pytest.raises(CheckFailed, match="0 missing or different, 1 others"):
        check_shards(Path("m"), Path("s"), tmp_path / "3", 1, [b"a"])
    assert ["--shard" in command for command in commands] == [True, False] * 3


def test_shard_that_ends_before_it_is_killed_fails_the_check(
    commands: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_killed", lambda command, part, rows: 0)
    with pytest.raises(CheckFailed, match="expected to kill a shard before its end, found that it had ended; use more"):
        check_shards(Path("m"), Path("s"), tmp_path / "1", 2, [b"a", b"b"])


def test_command_that_fails_ends_the_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = subprocess.CompletedProcess([], 2, "", "Error: no model")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: done)
    with pytest.raises(CheckFailed, match="to succeed, found exit code 2: Error: no model"):
        check_shards(Path("m"), Path("s"), tmp_path / "1", 1, [])
