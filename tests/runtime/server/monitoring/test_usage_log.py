"""The usage log: counts by day, nothing of a patient, a bounded size, and no prediction that fails with it."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.server.monitoring import usage_log
from ctonnx.server.monitoring.usage_log import Sample, UsageLog, days_in_use, models_in, read_counts

TODAY = datetime.now(UTC).date()


def counts(file: Path, model: str = "m") -> dict[str, dict[str, int]]:
    return read_counts(file, model, date.min, date.max)


def no_report(line: str) -> None:
    pytest.fail(line)


def test_images_are_counted_by_model_day_and_bin(tmp_path: Path) -> None:
    file = tmp_path / "usage"
    for model, labels in (("m", "aab"), ("n", "a")):
        with UsageLog(file, model, no_report) as log:
            for label in labels:
                log.add({"class": label, "score": "0.10"})
    assert counts(file) == {"class": {"a": 2, "b": 1}, "score": {"0.10": 3}}
    assert models_in(file) == {"m": 3, "n": 1}
    assert days_in_use(file, "m") == {TODAY: 3}
    assert read_counts(file, "m", TODAY - timedelta(9), TODAY - timedelta(1)) == {}


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "usage").touch(mode=0o644)
    with UsageLog(tmp_path / "usage", "m", no_report) as log:
        log.add({"class": "a"})
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_two_processes_count_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "usage"
    code = (
        "import sys; from pathlib import Path; from ctonnx.server.monitoring.usage_log import UsageLog\n"
        "with UsageLog(Path(sys.argv[1]), 'm', sys.exit) as log:\n"
        "    for _ in range(200): log.add({'class': 'a'})\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert counts(file) == {"class": {"a": 400}}


def test_file_is_whole_after_sigkill(tmp_path: Path) -> None:
    file = tmp_path / "usage"
    code = (
        "import sys; from pathlib import Path; from ctonnx.server.monitoring.usage_log import UsageLog\n"
        "log = UsageLog(Path(sys.argv[1]), 'm', sys.exit)\n"
        "while True:\n"
        "    log.add({'class': 'a'}); print(flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(500):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    with UsageLog(file, "m", no_report) as log:
        log.add({"class": "b"})
    assert counts(file)["class"]["b"] == 1


def test_old_days_and_many_bins_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_log, "MOST_BINS", 3)
    monkeypatch.setattr(usage_log, "KEPT_DAYS", 3)
    file = tmp_path / "usage"
    with UsageLog(file, "m", no_report) as log:
        log.add({"class": "a", "size": "1x1"})
    with closing(sqlite3.connect(file)) as database, database:
        days = [TODAY + timedelta(number) for number in (10_000, -400, -401, -402)]  # one by a wrong clock
        database.executemany("INSERT INTO usage VALUES ('m', ?, 'class', 'a', 7)", [(day.isoformat(),) for day in days])
    with UsageLog(file, "m", no_report) as log:
        for side in range(9):
            log.add({"class": "a", "size": f"{side}x1"})
    assert days_in_use(file, "m") == {TODAY - timedelta(400): 7, TODAY: 1 + 9, TODAY + timedelta(10_000): 7}
    assert counts(file)["size"] == {"0x1": 1, "1x1": 2, "2x1": 1, "other": 6}


def test_failure_to_write_is_reported_once_and_counting_goes_on(tmp_path: Path) -> None:
    file, lines = tmp_path / "usage", list[str]()
    log = UsageLog(file, "m", lines.append)
    file.unlink()
    for _ in range(3):
        log.add({"class": "a"})
        time.sleep(0.05)  # else one write has them all
    log.close()
    assert lines == [f"the usage log '{file}' misses images: there is no file '{file}'"]


def test_a_full_disk_costs_counts_and_no_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list[str]()

    def full(*values: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with UsageLog(tmp_path / "usage", "m", lines.append) as log:
        monkeypatch.setattr(log, "_write", full)
        log.add({"class": "a"})
    assert lines == [f"the usage log '{tmp_path / 'usage'}' misses images: database or disk is full"]


@pytest.mark.parametrize("content", [b"not a database, but a text of some length", b""])
def test_other_file_is_an_error_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other"
    if content:
        file.write_bytes(content)
    else:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("CREATE TABLE patients (name TEXT)")
    file.chmod(0o644)
    before = file.read_bytes()
    with pytest.raises(CtonnxError, match="expected a usage log, or a new file"):
        UsageLog(file, "m", no_report)
    with pytest.raises(CtonnxError, match="expected a usage log of ctonnx serve or ctonnx node, found"):
        models_in(file)
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CtonnxError, match=r"found .*No such file or directory"):
        UsageLog(tmp_path / "none" / "usage", "m", no_report)


def test_every_item_is_chosen_as_often() -> None:
    chosen = []
    for _ in range(2000):
        sample = Sample[int]()
        for item in range(4):
            sample.offer(item)
        chosen.append(sample.item)
    assert all(420 < chosen.count(item) < 580 for item in range(4))  # 500 each; beyond, a probability below 1e-4


def test_log_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "usage"
    with UsageLog(file, "m", no_report) as log:
        log.add({"class": "a"})
    opened: list[str] = []
    connect = sqlite3.connect

    def noted(address: str, **options: Any) -> Any:
        opened.append(address.rpartition("?")[2])
        return connect(address, **options)

    monkeypatch.setattr("sqlite3.connect", noted)
    assert counts(file) == {"class": {"a": 1}}
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert counts(file) == {"class": {"a": 1}}
    assert opened == ["mode=ro", "mode=ro&immutable=1"]


@pytest.mark.parametrize("day", ["CAST(x'ff' AS TEXT)", "'2026-13-01'", "x'00'"])
def test_damaged_text_is_an_error(tmp_path: Path, day: str) -> None:
    file = tmp_path / "usage"
    UsageLog(file, "m", no_report).close()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"INSERT INTO usage VALUES ('m', {day}, 'class', 'a', 1)")  # noqa: S608
    with pytest.raises(CtonnxError, match=r"expected .*usage log"):
        days_in_use(file, "m")


def test_damage_that_sqlite_cannot_name_costs_counts_and_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's message about a damaged table has the table's bytes, which need not be UTF-8."""
    lines = list[str]()

    def damaged(*values: object) -> None:
        b"\xff".decode()

    with UsageLog(tmp_path / "usage", "m", lines.append) as log:
        monkeypatch.setattr(log, "_write", damaged)
        for _ in range(2):
            log.add({"class": "a"})
            time.sleep(0.05)  # else one write has both
    assert len(lines) == 1
    assert lines[0].startswith(f"the usage log '{tmp_path / 'usage'}' misses images: ")
