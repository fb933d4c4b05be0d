"""Checks that a model's folder is the one that the owner of a trusted key signed.

The folder must have the files of the signature, unchanged, and no others: an added file might be one that is read.
The model is then opened from the bytes that were compared, so that no file can be exchanged in between.
"""

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.artifacts.provenance.keys import PublicKey, check_extra, read_public_key
from ctonnx.artifacts.provenance.signature import (
    SIGNATURE_FILE,
    SignatureClaims,
    claims_in,
    is_of_device,
    read_signature,
    short,
)
from ctonnx.errors import SignatureError
from ctonnx.system.file_reading import read_bytes
from ctonnx.system.files import sha256_of
from ctonnx.system.text import escape_control, quoted

__all__ = ["SignedFolder", "check_signature", "checked_files", "covered_names", "read_signed"]

_MOST = 1 << 31  # bytes of a model: the limit of protobuf
_NAMED = 3  # files in a message


@dataclass(frozen=True, kw_only=True)
class SignedFolder:
    """A folder whose signature is valid.

    Attributes:
        folder: The folder.
        key: Fingerprint of the key that signed it.
        files: SHA-256 of each file by its path in the folder.
    """

    folder: Path
    key: str
    files: Mapping[str, str]


def check_signature(folder: Path, trusted: Sequence[str | os.PathLike[str]]) -> SignedFolder:
    """Checks the signature of a folder, without a network.

    Args:
        folder: Folder of the model.
        trusted: PEM files of public keys, one or more. The owner of any of them may have signed the folder.

    Raises:
        SignatureError: If the folder is not signed, was signed by another key, or is not as it was signed.
        CtonnxError: If a key cannot be read, or the extra `sign` is not installed.
        OSError: If a file cannot be read.
    """
    check_extra()
    keys = [read_public_key(Path(file)) for file in trusted]
    folder = folder.resolve()
    content = read_signature(folder)
    if content is None:
        raise SignatureError(
            f"expected a signature in '{folder}', found no {SIGNATURE_FILE}; copy the whole folder from the model's "
            "maker, who signs it with: ctonnx sign FOLDER --key KEY"
        )
    claims = claims_in(content)
    wanted = [key for key in keys if claims.key in (None, key.fingerprint)]
    if not wanted:
        named = ", ".join(short(key.fingerprint) for key in keys)
        raise SignatureError(
            f"expected '{folder}' signed by the trusted key {named}, found a signature by the key "
            f"{short(str(claims.key))}; if you trust its owner, ask for their public key"
        )
    for key in wanted:
        if (files := checked_files(folder, content, key)) is not None:
            return SignedFolder(folder=folder, key=key.fingerprint, files=files)
    raise SignatureError(
        f"expected a signature by the key {short(wanted[0].fingerprint)} in '{folder / SIGNATURE_FILE}', found one "
        "that is not valid: it was altered, or made with another key; copy the folder again from the model's maker"
    )


def read_signed(model: Path, trusted: Sequence[str | os.PathLike[str]]) -> tuple[bytes, SignedFolder]:
    """Returns the bytes of a model file, which the owner of a trusted key signed; see `check_signature`.

    Raises:
        SignatureError: If its folder is not as it was signed, or the file was exchanged while it was read.
        OSError: If a file cannot be read.
    """
    model = model.resolve()
    signed = check_signature(model.parent, trusted)
    content = read_bytes(model, most=_MOST)
    if sha256_of(content) != signed.files.get(model.name):
        raise SignatureError(
            f"expected '{model}' as it was signed, found that it was exchanged since the check; try again"
        )
    return content, signed


def checked_files(folder: Path, signature: bytes, key: PublicKey) -> Mapping[str, str] | None:
    """Returns the SHA-256 of the files that a key signed; None if the signature is not valid for the key.

    Raises:
        SignatureError: If the signature is valid, and the folder is not as it was signed.
        OSError: If a file cannot be read.
    """
    from model_signing import hashing, manifest, verifying

    class Hashing(hashing.Config):
        """Keeps the hashes of the files that were compared with the signature."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # it has no annotations
            self.found: Mapping[str, str] | None = None

        def hash(self, model_path: hashing.PathLike, **options: Any) -> manifest.Manifest:
            hashed = super().hash(model_path, **options)
            self.found = {item.identifier: item.digest.digest_hex for item in hashed.resource_descriptors()}
            return hashed

    names, claims = covered_names(folder), claims_in(signature)
    compared = Hashing()
    compared.use_file_serialization(hashing_algorithm="sha256")
    compared.set_ignored_paths(paths=_not_covered(folder), ignore_git_paths=False)
    # The library prints a warning about a signature without the name of its key, where predictions are printed.
    silence = redirect_stdout(io.StringIO()) if claims.key is None else nullcontext()
    # Copies, so that the file and the key that are checked are those that were read.
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as copies, silence:
        key_file, signature_file = Path(copies, "key.pub"), Path(copies, SIGNATURE_FILE)
        key_file.write_bytes(key.pem)
        signature_file.write_bytes(signature)
        checked = verifying.Config().use_elliptic_key_verifier(public_key=key_file).set_hashing_config(compared)
        try:
            checked.verify(folder, signature_file)
        except (OSError, MemoryError):
            raise
        # A signature that is not valid raises InvalidSignature, ValueError, KeyError, AttributeError and more.
        except Exception as error:
            if compared.found is None:
                return None
            raise _not_as_signed(folder, claims, compared.found) from error
    if compared.found is None:  # the library has another order than today
        return None
    if unsigned := names - compared.found.keys():  # the signer left them out
        raise _not_as_signed(
            folder, SignatureClaims(files=compared.found), {**compared.found, **dict.fromkeys(unsigned, "")}
        )
    return compared.found


def covered_names(folder: Path) -> set[str]:
    """Returns the paths of all files in a folder that a signature must cover: all but its own and a device's.

    Raises:
        SignatureError: If there is a link, a pipe, a device or a socket.
    """
    names = set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            kind = "a link" if path.is_symlink() else "a pipe, a device or a socket"
            raise SignatureError(
                f"expected only files in '{folder}', as a signature covers their content, found {kind}: "
                f"'{escape_control(name)}'"
            )
        if path.is_file() and name != SIGNATURE_FILE and not is_of_device(name):
            names.add(name)
    return names


def _not_covered(folder: Path) -> list[Path]:
    return [Path(SIGNATURE_FILE), *(Path(name) for name in sorted(os.listdir(folder)) if is_of_device(name))]


def _not_as_signed(folder: Path, signed: SignatureClaims, found: Mapping[str, str]) -> SignatureError:
    """Returns the error for a folder whose files are not those of a valid signature."""
    differences = {
        "altered": [name for name, digest in signed.files.items() if name in found and found[name] != digest],
        "not signed": sorted(found.keys() - signed.files.keys()),
        "missing": sorted(signed.files.keys() - found.keys()),
    }
    parts = []
    for kind, names in differences.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        if names:
            parts.append(f"{quoted(map(escape_control, names[:_NAMED]))}{more} {kind}")
    differ = "; ".join(parts) or "that its signature lists other hashes than the SHA-256 of whole files"
    return SignatureError(
        f"expected the files in '{folder}' as they were signed, found {differ}; copy the whole folder again from the "
        "model's maker, into an empty folder"
    )
