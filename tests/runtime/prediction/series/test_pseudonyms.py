"""Pseudonyms: equal for equal identifiers, and not to be found without the key."""

import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest

from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms


def test_pseudonyms_are_the_same_with_one_key_and_others_with_another() -> None:
    names = Pseudonyms()
    assert names.of("patient", "0042") == names.of("patient", "0042 ")
    assert len({names.of("patient", "0042"), names.of("study", "0042"), Pseudonyms().of("patient", "0042")}) == 3
    assert names.of("patient", "  ") == ""


def test_a_list_of_all_numbers_does_not_find_the_patient() -> None:
    """Plain and keyed hashes of 10^6 numbers, with every key that a reader of the results could guess."""
    pseudonym = Pseudonyms().of("patient", "123456")
    keys = [b"", bytes(32), b"patient", pseudonym.encode()]
    for number in range(1_000_000):
        text = f"{number:06d}".encode()
        assert not hashlib.sha256(text).hexdigest().startswith(pseudonym)
        if number % 1000 == 456:  # of each key, a thousandth of the numbers and the patient's own
            message = b"patient\0" + text
            assert all(hmac.new(key, message, hashlib.sha256).hexdigest()[:16] != pseudonym for key in keys)


def test_the_key_is_kept_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    names, file = Pseudonyms(), tmp_path / "patients.key"
    names.save(file)
    assert Pseudonyms.load(file).of("patient", "7") == names.of("patient", "7")
    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
    with pytest.raises(FileExistsError, match="expected no key yet, found one"):
        names.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["patients.key"]
    file.write_bytes(b"short")
    with pytest.raises(DataError, match="found 5; restore the file"):
        Pseudonyms.load(file)
    with pytest.raises(DataError, match="found none"):
        Pseudonyms.load(tmp_path / "missing.key")
    with pytest.raises(ValueError, match="found 3"):
        Pseudonyms(b"abc")


def test_an_interrupted_save_leaves_no_part_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def full(number: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(number).st_mode))
        raise OSError("no space left")

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            Pseudonyms().save(tmp_path / "patients.key")
        assert (modes, list(tmp_path.iterdir())) == ([0o600], [])
        monkeypatch.undo()
        Pseudonyms().save(tmp_path / "patients.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "patients.key").stat().st_mode) == 0o600
