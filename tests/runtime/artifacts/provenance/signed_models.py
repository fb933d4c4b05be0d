"""Key pairs, exports that were signed with them, and the ways in which such an export is rejected."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("model_signing", reason="model_signing (the extra sign) is not installed")

from cryptography.hazmat.primitives.asymmetric import ec  # after the extra
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ctonnx.artifacts.provenance.signing import sign_folder
from ctonnx.cli.main import main


class KeyPair(NamedTuple):
    """Files of a private key and of its public key."""

    private: Path
    public: Path

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.public.read_bytes()).hexdigest()

    @property
    def short(self) -> str:
        return f"{self.fingerprint[:16]}..."


def make_keys(
    folder: Path, name: str, *, curve: ec.EllipticCurve | None = None, locked_by: str | None = None
) -> KeyPair:
    """Writes a new key pair to a folder, as openssl does."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    encryption = BestAvailableEncryption(locked_by.encode()) if locked_by else NoEncryption()
    found = KeyPair(folder / f"{name}.pem", folder / f"{name}.pub")
    found.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    found.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return found


def no_passphrase() -> str:
    raise AssertionError("the key is not encrypted")


def sign(export: Path, keys: KeyPair) -> None:
    sign_folder(export, keys.private, no_passphrase)


def rejections(export: Path, maker: KeyPair, other: KeyPair) -> dict[str, str]:
    """Returns the sentence for each way to spoil an export that `maker` has signed."""
    again = "; copy the whole folder again from the model's maker, into an empty folder"
    whole = f"expected the files in '{export}' as they were signed, found "
    return {
        "unsigned": f"expected a signature in '{export}', found no model.sig; copy the whole folder from the model's "
        "maker, who signs it with: ctonnx sign FOLDER --key KEY",
        "altered": f"{whole}'model.fp32.onnx' altered{again}",
        "signed by another key": f"expected '{export}' signed by the trusted key {maker.short}, found a signature by "
        f"the key {other.short}; if you trust its owner, ask for their public key",
        "file added": f"{whole}'weights.bin' not signed{again}",
    }


def spoil(export: Path, way: str, other: KeyPair) -> None:
    """Spoils a signed export in one of the ways of `rejections`."""
    match way:
        case "unsigned":
            (export / "model.sig").unlink()
        case "altered":
            model = export / "model.fp32.onnx"
            model.write_bytes(model.read_bytes() + b"\x7a\x00")  # an empty field of ModelProto, without a meaning
        case "signed by another key":
            sign(export, other)
        case "file added":
            (export / "weights.bin").write_bytes(b"weights outside of the model")


def ctonnx(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a test fail if onnxruntime opens anything."""

    def opened(*arguments: object, **options: object) -> None:
        pytest.fail("onnxruntime opened a model that is not trusted")

    monkeypatch.setattr("onnxruntime.InferenceSession", opened)
