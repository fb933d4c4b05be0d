"""The audit log: what was changed, removed or added shows; a kill or a power failure does not."""

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.audit import (
    AuditLog,
    audit_lines,
    open_site_key,
    read_site_key,
    recovered_lines,
    verify_audit,
)

KEY, OTHER = bytes(32), bytes([1]) * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path, KEY)
    for number in range(5):
        log.append("instance", series=f"s{number}")
    log.close()
    return tmp_path


def lines_of(folder: Path) -> list[str]:
    return (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()


def write(folder: Path, lines: list[str]) -> None:
    (folder / "audit.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_lines_are_json_with_number_time_and_event(folder: Path) -> None:
    found = [json.loads(line) for line in audit_lines(folder)]
    assert [(one["number"], one["event"], one["series"]) for one in found] == [
        (number + 1, "instance", f"s{number}") for number in range(5)
    ]
    assert all(one["time"].endswith("+00:00") for one in found)
    assert verify_audit(folder, KEY) == (5, None)


@pytest.mark.parametrize("gone", range(5))
def test_a_removed_line_shows(folder: Path, gone: int) -> None:
    lines = lines_of(folder)
    write(folder, lines[:gone] + lines[gone + 1 :])
    assert verify_audit(folder, KEY).fault is not None


@pytest.mark.parametrize("place", range(5))
def test_a_changed_line_shows(folder: Path, place: int) -> None:
    lines = lines_of(folder)
    lines[place] = lines[place].replace(f'"s{place}"', '"other"')
    write(folder, lines)
    assert verify_audit(folder, KEY).fault is not None


def test_a_removed_end_shows_and_so_does_a_removed_log(folder: Path) -> None:
    write(folder, lines_of(folder)[:3])
    assert verify_audit(folder, KEY).fault == "expected 5 lines, found 3: the last ones were removed, or lost"
    (folder / "audit.jsonl").unlink()
    assert verify_audit(folder, KEY).fault is not None


def test_a_chain_that_was_made_again_without_the_key_shows(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tmp_path_factory.mktemp("forged")
    log = AuditLog(made, OTHER)
    for number in range(5):
        log.append("instance", series=f"s{number}")
    log.close()
    for name in ("audit.jsonl", "audit.head"):
        (folder / name).write_bytes((made / name).read_bytes())
    assert verify_audit(folder, KEY).fault is not None


def test_an_appended_line_without_the_key_shows(folder: Path) -> None:
    last = json.loads(lines_of(folder)[-1])
    write(folder, [*lines_of(folder), json.dumps({**last, "number": 6})])
    assert verify_audit(folder, KEY).fault is not None


def test_the_chain_goes_on_after_a_restart_and_across_files(tmp_path: Path) -> None:
    for _ in range(3):
        log = AuditLog(tmp_path, KEY, rotate=400)
        for number in range(4):
            log.append("instance", number_of=number)
        log.close()
    assert len(list(tmp_path.glob("audit.*.jsonl"))) >= 3
    assert [json.loads(line)["number"] for line in audit_lines(tmp_path)] == list(range(1, 13))
    assert verify_audit(tmp_path, KEY) == (12, None)
    (tmp_path / "audit.2.jsonl").unlink()
    assert verify_audit(tmp_path, KEY).fault is not None


def test_a_kill_between_the_line_and_the_kept_hash_is_no_fault(folder: Path) -> None:
    before = (folder / "audit.head").read_bytes()
    log = AuditLog(folder, KEY)
    log.append("instance")
    log.close()
    (folder / "audit.head").write_bytes(before)
    assert verify_audit(folder, KEY) == (6, None)


def test_a_line_that_a_power_failure_cut_is_removed_and_recorded(folder: Path) -> None:
    with (folder / "audit.jsonl").open("ab") as out:
        out.write(b'{"number": 6, "ti')
    assert verify_audit(folder, KEY).fault == (
        "line 6 is not one of the log: it was changed, or cut by a power failure"
    )
    AuditLog(folder, KEY).close()
    assert [json.loads(line)["event"] for line in audit_lines(folder)] == ["instance"] * 5 + ["recovered"]
    assert verify_audit(folder, KEY) == (6, None)


def test_lines_that_are_lost_at_a_restart_are_recorded(folder: Path) -> None:
    write(folder, lines_of(folder)[:3])
    AuditLog(folder, KEY).close()
    last = json.loads(list(audit_lines(folder))[-1])
    assert (last["event"], last["lines_lost"], last["number"]) == ("recovered", 2, 4)


def test_only_the_owner_can_read_it(folder: Path) -> None:
    assert [(folder / name).stat().st_mode & 0o777 for name in ("audit.jsonl", "audit.head")] == [0o600, 0o600]


@pytest.mark.parametrize("written", [None, 7])
def test_a_full_disk_leaves_the_chain_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    write = os.write

    def fail(handle: int, line: bytes) -> int:
        if written is None:
            raise OSError(28, "No space left on device")
        return write(handle, line[:written])

    with closing(AuditLog(tmp_path, KEY)) as log:
        log.append("first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            with pytest.raises(OSError, match="No space left on device"):
                log.append("lost")
        log.append("second")
    assert verify_audit(tmp_path, KEY) == (2, None)


def test_a_closed_log_takes_no_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, KEY)
    log.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        log.append("late")


@pytest.mark.parametrize("value", ["previous", "hash"])
def test_a_removed_end_shows_whatever_a_removed_line_had(folder: Path, value: str) -> None:
    lines = lines_of(folder)
    known = json.loads(lines[3 if value == "previous" else 2])[value]
    write(folder, lines[:3])
    (folder / "audit.head").write_text(f"{3:020d} {known}\n", encoding="ascii")
    assert verify_audit(folder, KEY).fault == "'audit.head' was changed: lines after 3 may have been removed"
    AuditLog(folder, KEY).close()
    assert json.loads(lines_of(folder)[-1])["event"] == "tampered"
    assert verify_audit(folder, KEY) == (
        4,
        "line 4 records that a start found lines before it changed or removed",
    )


@pytest.mark.parametrize("head", ["same", "higher", "missing"])
def test_a_changed_last_line_shows_after_a_restart_too(folder: Path, head: str) -> None:
    lines = lines_of(folder)
    write(folder, [*lines[:4], lines[4].replace('"s4"', '"other"')])
    if head == "higher":
        (folder / "audit.head").write_text(f"{6:020d} {0:064d}\n", encoding="ascii")
    elif head == "missing":
        (folder / "audit.head").unlink()
    with closing(AuditLog(folder, KEY)) as log:
        log.append("node")
    assert [json.loads(line)["event"] for line in lines_of(folder)[5:]] == ["tampered", "node"]
    assert verify_audit(folder, KEY) == (5, "line 5 was changed")


def test_a_removed_end_is_a_note_after_a_restart(folder: Path) -> None:
    assert recovered_lines(folder) == []
    write(folder, lines_of(folder)[:3])
    with closing(AuditLog(folder, KEY)) as log:
        log.append("node")
    assert verify_audit(folder, KEY) == (5, None)
    assert recovered_lines(folder) == [(4, 2)]


def test_a_removed_head_is_a_note_after_a_restart(folder: Path) -> None:
    (folder / "audit.head").unlink()
    AuditLog(folder, KEY).close()
    assert verify_audit(folder, KEY) == (6, None)
    assert recovered_lines(folder) == [(6, None)]


def test_site_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    with pytest.raises(CtonnxError):
        read_site_key(tmp_path)
    key = open_site_key(tmp_path)
    assert open_site_key(tmp_path) == read_site_key(tmp_path) == key
    assert (tmp_path / "site.key").stat().st_mode & 0o077 == 0
    assert len(key) >= 32
