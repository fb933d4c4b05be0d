"""The spool: instances by pseudonyms, whole, bounded."""

import os
import shutil
import time
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from tests.runtime.server.pacs.builders import write_series

from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.server.pacs.node.spool import Instance, Spool, UnusableInstance


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "node", Pseudonyms(bytes(32)), limit=1_000_000)


def put(spool: Spool, file: Path) -> Instance:
    received = spool.incoming / "received.dcm"
    shutil.copy(file, received)
    return spool.take(received)


def test_instances_of_a_series_are_together_under_pseudonyms(spool: Spool, tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", 3) + write_series(tmp_path / "b", 2)
    taken = [put(spool, file) for file in files]
    assert sorted(len(spool.files(series)) for series in spool.series()) == [2, 3]
    assert len({one.series for one in taken}) == 2
    assert list(spool.incoming.iterdir()) == []
    assert spool.files(taken[0].series)[0].parent.name == taken[0].series
    stored = {file.read_bytes() for series in spool.series() for file in spool.files(series)}
    assert stored == {file.read_bytes() for file in files}
    assert spool.bytes == sum(file.stat().st_size for file in files)
    identifiers = {part for file in files for part in file.stem.split(".") if len(part) > 5}
    names = "\n".join(str(path) for path in spool.folder.rglob("*"))
    assert not [one for one in identifiers if one in names]


def test_an_instance_that_comes_again_replaces_itself(spool: Spool, tmp_path: Path) -> None:
    (file,) = write_series(tmp_path / "a", 1)
    first, second = put(spool, file), put(spool, file)
    assert first == second
    assert spool.bytes == file.stat().st_size
    assert len(spool.files(first.series)) == 1


def test_it_knows_its_content_after_a_restart_and_its_limit(spool: Spool, tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", 4)
    taken = [put(spool, file) for file in files]
    again = Spool(spool.folder, Pseudonyms(bytes(32)), limit=spool.bytes)
    assert again.bytes == spool.bytes
    assert again.is_full()
    assert not spool.is_full()
    again.remove(taken[0].series)
    assert again.bytes == 0
    assert again.series() == {}


@pytest.mark.parametrize("name", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_without_a_uid_is_rejected(spool: Spool, tmp_path: Path, name: str) -> None:
    from pydicom import dcmread

    (file,) = write_series(tmp_path / "a", 1)
    image = dcmread(file)
    delattr(image, name)
    image.save_as(file)
    with pytest.raises(UnusableInstance, match=f"expected an instance with a {name}, found none"):
        put(spool, file)


def test_bytes_that_are_not_dicom_are_rejected_without_a_word_of_them(spool: Spool, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"SECRET" * 100)
    with pytest.raises(UnusableInstance) as caught:
        put(spool, file)
    assert "SECRET" not in str(caught.value)
    assert spool.series() == {}


def test_abandoned_files_are_removed_and_fresh_ones_stay(spool: Spool) -> None:
    old, new = spool.incoming / "old", spool.incoming / "new"
    for file in (old, new):
        file.write_bytes(b"")
    os.utime(old, (time.time() - 100, time.time() - 100))
    assert spool.remove_abandoned(older_than=60) == 1
    assert new.exists()
    assert not old.exists()


def test_only_the_owner_can_read_it(spool: Spool, tmp_path: Path) -> None:
    (file,) = write_series(tmp_path / "a", 1)
    taken = put(spool, file)
    folders = [spool.incoming, spool.results, spool.files(taken.series)[0].parent, spool.folder]
    assert [folder.stat().st_mode & 0o77 for folder in folders] == [0] * 4


def test_a_complete_file_that_a_power_failure_left_in_incoming_is_taken_at_the_next_start(
    spool: Spool, tmp_path: Path
) -> None:
    first, second = write_series(tmp_path / "a", 2)
    complete, partial = spool.incoming / "complete.dcm", spool.incoming / "partial.dcm"
    shutil.copy(first, complete)
    complete.chmod(0o400)
    partial.write_bytes(second.read_bytes()[:3000])
    again = Spool(spool.folder, Pseudonyms(bytes(32)), limit=1)
    (series,) = again.series()
    assert [file.read_bytes() for file in again.files(series)] == [first.read_bytes()]
    assert again.bytes == first.stat().st_size
    assert list(again.incoming.iterdir()) == []


def test_a_file_is_on_the_disk_with_its_mark_before_it_is_taken(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = write_series(tmp_path / "a", 1)
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: modes.append(os.fstat(handle).st_mode & 0o777))
    put(spool, file)
    assert modes == [0o400]


def test_an_unusual_header_is_read_too(spool: Spool, tmp_path: Path) -> None:
    from pydicom import dcmread

    (file,) = write_series(tmp_path / "a", 1)
    plain = put(spool, file)
    image = dcmread(file)
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.save_as(file, implicit_vr=True, little_endian=True)
    assert put(spool, file)[:3] == plain[:3]


def test_results_that_wait_count_for_the_limit(spool: Spool, tmp_path: Path) -> None:
    def fill(count: int) -> None:
        (spool.results / "1.2.dcm").write_bytes(bytes(count))
        time.sleep(0.05)  # their size is measured now and then

    assert (spool.is_full(), spool.holds_too_many_results()) == (False, False)
    for count, expected in (
        (400_000, (False, False, True, False)),
        (600_000, (False, False, False, True)),
        (900_000, (False, True, False, True)),
        (1_000_000, (True, True, False, True)),
    ):
        fill(count)
        found = (spool.is_full(), spool.is_nearly_full(), spool.has_room(), spool.holds_too_many_results())
        assert found == expected
        assert spool.result_bytes() == count
    with pytest.raises(OSError, match="the spool or the disk is full"):
        spool.require_space()
    assert spool.bytes == 0
    (spool.results / "1.2.dcm").unlink()
    time.sleep(0.05)
    assert not spool.is_full()


def test_measuring_many_results_takes_a_twentieth_of_the_time(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    now, scans = 0.0, list[float]()

    def scan(folder: Path) -> int:
        nonlocal now
        scans.append(now)
        now += 0.5
        return 7

    monkeypatch.setattr("ctonnx.server.pacs.node.spool._size_of_folder", scan)
    monkeypatch.setattr("ctonnx.server.pacs.node.spool.time.monotonic", lambda: now)
    for _ in range(300):
        assert spool.result_bytes() == 7
        now += 0.1
    assert 3 <= len(scans) <= 4
