"""The signature of a model's folder, read without a library: its claims, which are not checked.

`model.sig` is a Sigstore bundle with a signed list of files, as OpenSSF Model Signing defines it
(https://github.com/ossf/model-signing-spec). `ctonnx.artifacts.provenance.trust` checks it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctonnx.artifacts.json_schema import parse, part_at
from ctonnx.errors import SignatureError
from ctonnx.system.file_reading import read_bytes, reason_of

__all__ = ["SIGNATURE_FILE", "SignatureClaims", "claims_in", "is_of_device", "read_signature", "short"]

SIGNATURE_FILE = "model.sig"
"""Name of the signature, in the folder that it signs."""

_MOST = 1 << 22  # bytes; the signature of an export has about 3 kB
_OF_DEVICE = re.compile(r"(?:[^/]+\.)?fastest\.[0-9a-f]{12}\.json|[^/]+\.tuned\.json")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SHORT = 16  # digits of a fingerprint in a message


@dataclass(frozen=True, kw_only=True)
class SignatureClaims:
    """Content of a signature, which anyone may have written.

    Attributes:
        key: Fingerprint of the key, 64 hexadecimal digits; None if it names none.
        files: SHA-256 of each file by its path in the folder; empty if it lists parts of files, or other hashes.
    """

    key: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


def read_signature(folder: Path) -> bytes | None:
    """Returns the bytes of a folder's signature, or None if it has none.

    Raises:
        SignatureError: If the file cannot be read.
    """
    file = folder / SIGNATURE_FILE
    try:
        return read_bytes(file, most=_MOST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignatureError(
            f"expected a signature in '{file}', found that it cannot be read: {reason_of(error)}"
        ) from error


def claims_in(signature: bytes) -> SignatureClaims:
    """Returns the claims of a signature; what cannot be read is left out."""
    bundle = _document(signature)
    hint = part_at(part_at(bundle, "verificationMaterial"), "publicKey").get("hint")
    try:
        payload = base64.b64decode(str(part_at(bundle, "dsseEnvelope").get("payload", "")), validate=True)
    except ValueError:
        payload = b""
    resources = part_at(_document(payload), "predicate").get("resources")
    files = {}
    for resource in resources if isinstance(resources, list) else ():
        name, digest = (resource.get(part) if isinstance(resource, dict) else None for part in ("name", "digest"))
        if isinstance(name, str) and isinstance(digest, str) and resource.get("algorithm") == "sha256":
            files[name] = digest
    return SignatureClaims(key=hint if isinstance(hint, str) and _FINGERPRINT.fullmatch(hint) else None, files=files)


def is_of_device(name: str) -> bool:
    """Returns whether a file is a measurement that ctonnx keeps next to a model on a device, which no signature covers.

    These are the fastest provider (`--provider auto`) and the best settings (`ctonnx bench --sweep`). A command with
    `--trust` does not read them.

    >>> is_of_device("model.int8.tuned.json"), is_of_device("fastest.0123456789ab.json"), is_of_device("report.json")
    (True, True, False)
    """
    return _OF_DEVICE.fullmatch(name) is not None


def short(fingerprint: str) -> str:
    """Returns the first digits of a fingerprint, for messages."""
    return f"{fingerprint[:_SHORT]}..."


def _document(content: bytes) -> Mapping[str, object]:
    try:
        found = parse(content.decode())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
