"""A folder is signed whole, after its models were checked, in the format of OpenSSF Model Signing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.artifacts.provenance.signed_models import KeyPair, make_keys, no_passphrase, sign
from tests.runtime.changed_exports import alter_weight

from ctonnx.artifacts.provenance.signing import sign_folder
from ctonnx.artifacts.provenance.trust import check_signature
from ctonnx.errors import CtonnxError, ModelError, SignatureError
from ctonnx.system.files import sha256_of


def test_every_file_is_signed(export: Path, maker: KeyPair) -> None:
    (export / "notes").mkdir()
    (export / "notes/site.txt").write_text("for one site")
    (export / ".hidden").touch()
    (export / ".gitattributes").touch()
    files = {path.relative_to(export).as_posix(): sha256_of(path) for path in export.rglob("*") if path.is_file()}
    done = sign_folder(export, maker.private, no_passphrase)
    assert done.signed.files == files
    assert {"notes/site.txt", ".hidden", ".gitattributes", "golden.npz", "bom.cdx.json"} <= files.keys()
    assert (done.signed.key, done.file, done.replaced) == (maker.fingerprint, export / "model.sig", None)
    assert check_signature(export, [maker.public]) == done.signed


def test_measurements_of_a_device_are_not_signed(export: Path, maker: KeyPair) -> None:
    (export / "model.fp32.tuned.json").write_text("{}")
    done = sign_folder(export, maker.private, no_passphrase)
    assert "model.fp32.tuned.json" not in done.signed.files
    (export / "model.fp32.tuned.json").write_text("[]")
    (export / "fastest.0123456789ab.json").write_text("{}")
    assert check_signature(export, [maker.public]) == done.signed


def test_new_signature_replaces_the_old_one(signed: Path, maker: KeyPair, other: KeyPair) -> None:
    assert sign_folder(signed, other.private, no_passphrase).replaced == maker.fingerprint
    check_signature(signed, [other.public])
    with pytest.raises(SignatureError):
        check_signature(signed, [maker.public])
    (signed / "model.sig").write_text("damaged")
    assert sign_folder(signed, maker.private, no_passphrase).replaced == ""
    check_signature(signed, [maker.public])


def test_encrypted_key_signs(export: Path, tmp_path: Path) -> None:
    pair = make_keys(tmp_path / "keys", "encrypted", locked_by="geheim")
    sign_folder(export, pair.private, lambda: "geheim")
    assert check_signature(export, [pair.public]).key == pair.fingerprint


def test_damaged_or_foreign_model_is_not_signed(export: Path, maker: KeyPair, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match=f"^expected a folder with an .onnx file, found none in '{empty}'"):
        sign(empty, maker)
    model = export / "model.fp32.onnx"
    alter_weight(model, 1.0)
    with pytest.raises(ModelError, match="found it damaged or altered"):
        sign(export, maker)
    model.write_bytes(b"")
    with pytest.raises(ModelError):
        sign(export, maker)
    assert not (export / "model.sig").exists()


def test_link_is_not_signed(export: Path, maker: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    (export / "linked").symlink_to(tmp_path / "secret")
    with pytest.raises(SignatureError, match=f"^expected only files in '{export}', .* found a link: 'linked'$"):
        sign(export, maker)
    assert not (export / "model.sig").exists()


def test_signature_that_does_not_hold_is_not_written(
    signed: Path, other: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (signed / "model.sig").read_bytes()
    monkeypatch.setattr("ctonnx.artifacts.provenance.signing.checked_files", lambda *arguments: None)
    with pytest.raises(CtonnxError, match=r"^expected a valid signature of all files"):
        sign(signed, other)
    assert (signed / "model.sig").read_bytes() == before


def model_signing(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs the command of the library that defines the format."""
    command = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_command_of_the_format_verifies_a_signature_of_ctonnx_and_the_other_way_round(
    signed: Path, maker: KeyPair
) -> None:
    file = signed / "model.sig"
    verify = ("verify", "key", signed, "--signature", file, "--public_key", maker.public)
    assert model_signing(*verify).returncode == 0
    (signed / "added").touch()
    assert model_signing(*verify).returncode != 0
    file.unlink()
    done = model_signing("sign", "key", signed, "--signature", file, "--private_key", maker.private)
    assert done.returncode == 0, done.stderr
    assert "added" in check_signature(signed, [maker.public]).files
