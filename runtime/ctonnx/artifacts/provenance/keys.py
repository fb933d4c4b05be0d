"""EC keys in PEM files, and their fingerprints.

OpenSSF Model Signing takes keys on the curves P-256, P-384 and P-521. The fingerprint is the one in its signatures: the
SHA-256 of the public key as PEM, which `openssl pkey -in KEY -pubout | sha256sum` prints, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctonnx.errors import CtonnxError
from ctonnx.system.file_reading import read_bytes, reason_of
from ctonnx.system.files import sha256_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = ["PrivateKey", "PublicKey", "check_extra", "read_private_key", "read_public_key"]

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MOST = 1 << 16  # bytes of a key file
_MAKE = "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out key.pem"


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A public key.

    Attributes:
        pem: The key as PEM.
        fingerprint: SHA-256 of `pem`, 64 hexadecimal digits.
    """

    pem: bytes
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A private key, which stays in its file.

    Attributes:
        file: File of the key.
        passphrase: Passphrase that opens the file; None if it is not encrypted.
        public: The public key that belongs to it.
    """

    file: Path
    passphrase: bytes | None
    public: PublicKey

    def __repr__(self) -> str:
        return f"PrivateKey({str(self.file)!r})"  # without the passphrase


def check_extra() -> None:
    """Raises an error if the packages of the extra `sign`, which `--trust` needs, are not installed.

    Raises:
        CtonnxError: If a package is missing.
    """
    try:
        import_module("cryptography")
        import_module("model_signing")
    except ModuleNotFoundError as error:
        package = (error.name or "model_signing").partition(".")[0]
        raise CtonnxError(
            f"expected the package '{package}' for --trust, found none; pip install \"ctonnx[sign]\""
        ) from error


def read_public_key(file: Path) -> PublicKey:
    """Reads a public key from a PEM file.

    Raises:
        CtonnxError: If the file cannot be read, or is not a public key on one of the curves.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(file, "a public key")
    if b"PRIVATE KEY" in content:
        raise CtonnxError(
            f"expected a public key in '{file}', found a private key, which nobody else may have; write its public key "
            f"with: openssl pkey -in {file} -pubout -out key.pub"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CtonnxError(
            f"expected a public key in PEM format in '{file}', found something else; its owner writes it with: openssl "
            "pkey -in key.pem -pubout -out key.pub"
        ) from error
    return _public(_on_a_curve(key, file, "public"))


def read_private_key(file: Path, ask: Callable[[], str]) -> PrivateKey:
    """Reads a private key from a PEM file.

    Args:
        file: The file.
        ask: Returns its passphrase; called only if the file is encrypted.

    Raises:
        CtonnxError: If the file cannot be read, is not a private key on one of the curves, or has another passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content, passphrase = _content(file, "a private key"), None
    key: Any
    try:
        try:
            key = load_pem_private_key(content, None)
        except TypeError:  # it is encrypted
            passphrase = ask().encode()
            key = load_pem_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise CtonnxError(f"expected the passphrase of the key in '{file}', found another one") from error
        raise CtonnxError(f"expected a private key in PEM format in '{file}', found something else; {_MAKE}") from error
    return PrivateKey(
        file=file,
        passphrase=passphrase,
        public=_public(_on_a_curve(key.public_key() if hasattr(key, "public_key") else key, file, "private")),
    )


def _content(file: Path, expected: str) -> bytes:
    try:
        return read_bytes(file, most=_MOST)
    except OSError as error:
        raise CtonnxError(
            f"expected {expected} in '{file}', found that it cannot be read: {reason_of(error)}"
        ) from error


def _on_a_curve(key: Any, file: Path, kind: str) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        found = key.curve.name if isinstance(key, EllipticCurvePublicKey) else type(key).__name__.strip("_")
        raise CtonnxError(
            f"expected a {kind} EC key on the curve P-256, P-384 or P-521 in '{file}', found {found}; {_MAKE}"
        )
    return key


def _public(key: "EllipticCurvePublicKey") -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(pem=pem, fingerprint=sha256_of(pem))
