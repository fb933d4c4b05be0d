"""Claims of a signature are read without a library; a damaged one has none, as nothing is checked here."""

import base64
import json
import os
from pathlib import Path

import pytest
from tests.runtime.artifacts.provenance.signed_models import KeyPair

from ctonnx.artifacts.provenance.signature import claims_in, is_of_device, read_signature
from ctonnx.errors import SignatureError
from ctonnx.inference.tuning import tuning_file
from ctonnx.prediction.device.kept_choice import kept_files
from ctonnx.system.files import sha256_of


def test_key_and_files_of_a_signature(signed: Path, maker: KeyPair) -> None:
    content = read_signature(signed)
    assert content is not None
    claims = claims_in(content)
    assert claims.key == maker.fingerprint
    assert claims.files == {file.name: sha256_of(file) for file in signed.iterdir() if file.name != "model.sig"}
    assert {"model.fp32.onnx", "golden.npz", "report.json", "README.md"} <= claims.files.keys()


def test_folder_without_a_signature_has_none(export: Path) -> None:
    assert read_signature(export) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_signature_that_cannot_be_read_is_an_error(export: Path) -> None:
    os.mkfifo(export / "model.sig")
    with pytest.raises(
        SignatureError, match=f"^expected a signature in '{export}/model.sig', found that it cannot be read"
    ):
        read_signature(export)


def payload(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"verificationMaterial": 1, "dsseEnvelope": 1}',
        b'{"verificationMaterial": {"publicKey": {"hint": "a key"}}, "dsseEnvelope": {"payload": "no base64!"}}',
        json.dumps({"dsseEnvelope": {"payload": payload([1])}}).encode(),
        json.dumps({"dsseEnvelope": {"payload": payload({"predicate": {"resources": 1}})}}).encode(),
        json.dumps({"dsseEnvelope": {"payload": payload({"predicate": {"resources": [1, {"name": 1}]}})}}).encode(),
    ],
)
def test_damaged_signature_claims_nothing(document: bytes) -> None:
    claims = claims_in(document)
    assert (claims.key, claims.files) == (None, {})


def test_files_that_ctonnx_keeps_next_to_a_model_on_a_device_are_known(export: Path) -> None:
    model = export / "model.fp32.onnx"
    for file in (tuning_file(model), kept_files(export, ["a"])[0], kept_files(model, ["a"])[0]):
        assert file.parent == export
        assert is_of_device(file.name)
        assert not is_of_device(f"inner/{file.name}")
    assert not any(is_of_device(file.name) for file in export.iterdir())
