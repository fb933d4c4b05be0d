"""Keys are EC keys in PEM files; everything else is one sentence with the command that makes a key."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.runtime.artifacts.provenance.signed_models import KeyPair, make_keys, no_passphrase

from ctonnx.artifacts.provenance import keys as module
from ctonnx.artifacts.provenance.keys import check_extra, read_private_key, read_public_key
from ctonnx.errors import CtonnxError

OPENSSL = which("openssl") or ""
OTHERS: dict[str, Callable[[], Any]] = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: str(curve.name))
def test_both_files_of_a_pair_have_one_fingerprint(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    pair = make_keys(tmp_path, "a", curve=curve)
    public, private = read_public_key(pair.public), read_private_key(pair.private, no_passphrase)
    assert public == private.public
    assert (public.fingerprint, public.pem) == (pair.fingerprint, pair.public.read_bytes())


def test_passphrase_is_asked_for_once_and_not_shown(tmp_path: Path) -> None:
    pair, asked = make_keys(tmp_path, "a", locked_by="geheim ü"), []

    def ask() -> str:
        asked.append(1)
        return "geheim ü"

    key = read_private_key(pair.private, ask)
    assert (key.passphrase, key.public.fingerprint, len(asked)) == ("geheim ü".encode(), pair.fingerprint, 1)
    assert "geheim" not in repr(key)
    with pytest.raises(
        CtonnxError, match=f"^expected the passphrase of the key in '{pair.private}', found another one$"
    ):
        read_private_key(pair.private, lambda: "another")


@pytest.mark.parametrize("kind", OTHERS)
def test_key_of_another_kind_is_an_error(tmp_path: Path, kind: str) -> None:
    key = OTHERS[kind]()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for read, file, which_one in (
        (read_public_key, public, "public"),
        (lambda file: read_private_key(file, no_passphrase), private, "private"),
    ):
        with pytest.raises(CtonnxError) as caught:
            read(file)
        assert str(caught.value).startswith(
            f"expected a {which_one} EC key on the curve P-256, P-384 or P-521 in '{file}', found "
        )
        assert kind in str(caught.value)


def test_private_key_in_place_of_a_public_one_is_an_error(maker: KeyPair) -> None:
    with pytest.raises(CtonnxError, match="found a private key, which nobody else may have; write its public key with"):
        read_public_key(maker.private)


@pytest.mark.parametrize("content", [b"", b"0" * 100, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_other_bytes_are_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(CtonnxError, match=f"^expected a public key in PEM format in '{file}', found something else"):
        read_public_key(file)
    with pytest.raises(CtonnxError, match=f"^expected a private key in PEM format in '{file}', found something else"):
        read_private_key(file, no_passphrase)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(1 << 17))
    for file, reason in ((tmp_path / "none", "no such file"), (large, "and at most 65536 are read")):
        with pytest.raises(
            CtonnxError, match=rf"^expected a public key in '{file}', found that it cannot be read: .*{reason}"
        ):
            read_public_key(file)


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        if name == "model_signing":
            raise ModuleNotFoundError("No module named 'sigstore.models'", name="sigstore.models")

    check_extra()
    monkeypatch.setattr(module, "import_module", import_module)
    with pytest.raises(CtonnxError) as caught:
        check_extra()
    assert str(caught.value) == (
        "expected the package 'sigstore' for --trust, found none; pip install \"ctonnx[sign]\""
    )


@pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")
def test_keys_of_the_documented_commands_are_read_and_openssl_prints_the_fingerprint(tmp_path: Path) -> None:
    def openssl(*words: str) -> bytes:
        return subprocess.run([OPENSSL, *words], check=True, capture_output=True, cwd=tmp_path).stdout

    made = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem")
    openssl(*made, "-aes256", "-pass", "pass:geheim")
    openssl("pkey", "-in", "key.pem", "-passin", "pass:geheim", "-pubout", "-out", "key.pub")
    key = read_private_key(tmp_path / "key.pem", lambda: "geheim")
    assert key.public == read_public_key(tmp_path / "key.pub")
    digest = openssl("dgst", "-sha256", "-r", "key.pub").split()[0].decode()
    assert digest == key.public.fingerprint
