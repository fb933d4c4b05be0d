"""A folder is accepted only as the owner of a trusted key signed it, and a model is the bytes that were signed."""

import base64
import json
import os
import re
from pathlib import Path

import pytest
from tests.runtime.artifacts.provenance.signed_models import (
    KeyPair,
    make_keys,
    no_passphrase,
    rejections,
    sign,
    spoil,
)

from ctonnx.artifacts.provenance import trust as module
from ctonnx.artifacts.provenance.keys import read_private_key
from ctonnx.artifacts.provenance.trust import check_signature, read_signed
from ctonnx.errors import CtonnxError, SignatureError


def rejection(folder: Path, *keys: KeyPair) -> str:
    with pytest.raises(SignatureError) as caught:
        check_signature(folder, [key.public for key in keys])
    return str(caught.value)


@pytest.mark.parametrize("way", ["unsigned", "altered", "signed by another key", "file added"])
def test_folder_that_is_not_as_its_maker_signed_it_is_rejected(
    signed: Path, maker: KeyPair, other: KeyPair, way: str
) -> None:
    check_signature(signed, [maker.public])
    sentence = rejections(signed, maker, other)[way]
    spoil(signed, way, other)
    assert rejection(signed, maker) == sentence


def test_any_of_several_keys_is_accepted(signed: Path, maker: KeyPair, other: KeyPair) -> None:
    for keys in ([maker, other], [other, maker]):
        assert check_signature(signed, [key.public for key in keys]).key == maker.fingerprint
    sign(signed, other)
    assert check_signature(signed, [maker.public, other.public]).key == other.fingerprint


@pytest.mark.parametrize("name", ["golden.npz", "report.json", "README.md", "bom.cdx.json"])
def test_every_file_is_compared(signed: Path, maker: KeyPair, name: str) -> None:
    content = (signed / name).read_bytes()
    (signed / name).write_bytes(content[:-1])
    assert f"found '{name}' altered" in rejection(signed, maker)
    (signed / name).unlink()
    assert f"found '{name}' missing" in rejection(signed, maker)
    (signed / name).write_bytes(content)
    check_signature(signed, [maker.public])


@pytest.mark.parametrize(
    "name", ["inner/weights", ".hidden", ".gitattributes", ".git/config", "model.sig.bak", "x.tuned.json/weights"]
)
def test_added_file_is_rejected_wherever_it_is(signed: Path, maker: KeyPair, name: str) -> None:
    (signed / name).parent.mkdir(exist_ok=True)
    (signed / name).touch()
    assert f"found '{name}' not signed" in rejection(signed, maker)


def test_all_differences_are_in_one_sentence(signed: Path, maker: KeyPair) -> None:
    for number in range(5):
        (signed / f"{number}\n").touch()
    (signed / "report.md").unlink()
    (signed / "README.md").write_text("a good model")
    names = r"'0\n', '1\n', '2\n' and 2 more"
    assert rejection(signed, maker) == (
        f"expected the files in '{signed}' as they were signed, found 'README.md' altered; {names} not signed; "
        "'report.md' missing; copy the whole folder again from the model's maker, into an empty folder"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither in a folder without rights")
def test_link_and_pipe_are_rejected(signed: Path, maker: KeyPair, tmp_path: Path) -> None:
    model = signed / "model.fp32.onnx"
    model.rename(tmp_path / "moved.onnx")
    model.symlink_to(tmp_path / "moved.onnx")
    assert rejection(signed, maker).endswith("found a link: 'model.fp32.onnx'")
    model.unlink()
    os.mkfifo(model)
    assert rejection(signed, maker).endswith("found a pipe, a device or a socket: 'model.fp32.onnx'")


def rewritten(folder: Path, **changes: str) -> None:
    """Changes the parts of a signature: its hint, or the SHA-256 of the model in the signed list."""
    bundle = json.loads((folder / "model.sig").read_text())
    if hint := changes.get("hint"):
        bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    if digest := changes.get("digest"):
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        for resource in payload["predicate"]["resources"]:
            resource["digest"] = digest if resource["name"] == "model.fp32.onnx" else resource["digest"]
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (folder / "model.sig").write_text(json.dumps(bundle))


def test_signature_with_the_name_of_a_trusted_key_is_not_valid_for_it(
    signed: Path, maker: KeyPair, other: KeyPair
) -> None:
    sign(signed, other)
    rewritten(signed, hint=maker.fingerprint)
    assert rejection(signed, maker) == (
        f"expected a signature by the key {maker.short} in '{signed / 'model.sig'}', found one that is not valid: it "
        "was altered, or made with another key; copy the folder again from the model's maker"
    )


def test_changed_list_of_files_is_not_valid(signed: Path, maker: KeyPair) -> None:
    rewritten(signed, digest="0" * 64)
    assert "found one that is not valid" in rejection(signed, maker)


def test_signature_without_the_name_of_its_key_is_tried_with_each(
    signed: Path, maker: KeyPair, other: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the format's first release wrote it; the library prints a warning on stdout, which is for predictions."""
    bundle = json.loads((signed / "model.sig").read_text())
    del bundle["verificationMaterial"]["publicKey"]["hint"]
    (signed / "model.sig").write_text(json.dumps(bundle))
    assert check_signature(signed, [other.public, maker.public]).key == maker.fingerprint
    assert "found one that is not valid" in rejection(signed, other)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff\x00", b'{"verificationMaterial": {}, "dsseEnvelope": {}}']
)
def test_damaged_signature_is_not_valid(signed: Path, maker: KeyPair, content: bytes) -> None:
    (signed / "model.sig").write_bytes(content)
    assert "found one that is not valid" in rejection(signed, maker)


def test_files_that_the_signer_left_out_are_rejected(export: Path, maker: KeyPair) -> None:
    """Other programs of the format can sign a part of a folder."""
    from model_signing import hashing, signing

    signer = signing.Config().use_elliptic_key_signer(private_key=maker.private)
    some = hashing.Config().set_ignored_paths(paths=["model.sig", "model.fp32.onnx"])
    signer.set_hashing_config(some).sign(export, export / "model.sig")
    assert "found 'model.fp32.onnx' not signed" in rejection(export, maker)


def test_signature_of_other_hashes_is_rejected(export: Path, maker: KeyPair) -> None:
    from model_signing import hashing, signing

    parts = hashing.Config().use_shard_serialization(shard_size=1000).set_ignored_paths(paths=["model.sig"])
    signer = signing.Config().use_elliptic_key_signer(private_key=maker.private)
    signer.set_hashing_config(parts).sign(export, export / "model.sig")
    assert re.search(
        r"^expected the files in .* as they were signed, found .*; copy the whole folder", rejection(export, maker)
    )


def test_key_that_cannot_be_read_is_an_error(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(CtonnxError, match=f"^expected a public key in PEM format in '{tmp_path / 'key'}'"):
        check_signature(signed, [tmp_path / "key"])


def test_keys_of_all_curves_sign_and_verify(export: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    for curve in (ec.SECP384R1(), ec.SECP521R1()):
        pair = make_keys(tmp_path / "keys", curve.name, curve=curve)
        sign(export, pair)
        assert (
            check_signature(export, [pair.public]).key
            == read_private_key(pair.private, no_passphrase).public.fingerprint
        )


def test_model_is_the_bytes_that_were_signed(signed: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    model = signed / "model.fp32.onnx"
    content, found = read_signed(model, [maker.public])
    assert (content, found.folder, found.key) == (model.read_bytes(), signed, maker.fingerprint)
    original = module.check_signature

    def exchanged(*arguments: object) -> object:
        checked = original(*arguments)  # type: ignore[arg-type]
        model.write_bytes(b"another model")
        return checked

    monkeypatch.setattr(module, "check_signature", exchanged)
    with pytest.raises(SignatureError) as caught:
        read_signed(model, [maker.public])
    assert str(caught.value) == (
        f"expected '{model}' as it was signed, found that it was exchanged since the check; try again"
    )


def test_link_to_a_signed_model_is_the_model_in_its_own_folder(signed: Path, maker: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links/model.onnx"
    link.symlink_to(signed / "model.fp32.onnx")
    assert read_signed(link, [maker.public])[1].folder == signed


def test_signature_is_checked_without_a_network(signed: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*arguments: object) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    sign(signed, maker)
    check_signature(signed, [maker.public])
