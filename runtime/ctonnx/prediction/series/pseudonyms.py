"""Pseudonyms of patients, studies and series: the same for the same identifier, and meaningless without the key."""

import errno
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.system.file_reading import reason_of
from ctonnx.system.files import atomic_file

__all__ = ["Pseudonyms"]

_KEY_BYTES = 32
_LETTERS = 16


class Pseudonyms:
    """Pseudonyms under one secret key, which stays with the run.

    Identifiers are often short numbers: a plain hash of one is found by hashing all numbers. HMAC-SHA256 with a random
    key of 256 bits cannot be searched like that by anyone who lacks the key. Source: RFC 2104,
    https://www.rfc-editor.org/rfc/rfc2104; DICOM PS3.15, Annex E (identifiers are replaced, not only hashed).

    >>> names = Pseudonyms(bytes(32))
    >>> names.of("patient", " 0042 ") == names.of("patient", "0042") != names.of("study", "0042")
    True
    """

    def __init__(self, key: bytes | None = None) -> None:
        """Uses a key of 32 bytes, or a new random one, whose pseudonyms no other object repeats."""
        if key is not None and len(key) != _KEY_BYTES:
            raise ValueError(f"expected a key of {_KEY_BYTES} bytes, found {len(key)}")
        self._key = secrets.token_bytes(_KEY_BYTES) if key is None else key

    @property
    def key(self) -> bytes:
        """The key, 32 bytes."""
        return self._key

    def of(self, kind: str, identifier: str) -> str:
        """Returns the pseudonym of an identifier, 16 hexadecimal digits; empty if the identifier is empty.

        Args:
            kind: Kind of the identifier, such as `patient`: equal identifiers of two kinds have other pseudonyms.
            identifier: Identifier; spaces around it do not count.
        """
        identifier = identifier.strip(" \0\t\r\n")
        if not identifier:
            return ""
        message = f"{kind}\0{identifier}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_LETTERS]

    def save(self, file: Path) -> None:
        """Writes the key to a new file, completely or not at all, that only its owner can read at any moment.

        Raises:
            FileExistsError: If the file exists: another key would make the pseudonyms of a run unknown.
        """
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, "expected no key yet, found one", str(file))
        with atomic_file(file, mode=0o600) as temporary:
            temporary.write_bytes(self._key)

    @classmethod
    def load(cls, file: Path) -> "Pseudonyms":
        """Reads the key that `save` wrote.

        Raises:
            DataError: The file is missing or is not a key.
        """
        try:
            key = file.read_bytes()
        except OSError as error:
            raise DataError(
                f"expected the key of the patients' pseudonyms in '{file}', found none ({reason_of(error)})"
            ) from error
        if len(key) != _KEY_BYTES:
            raise DataError(f"expected a key of {_KEY_BYTES} bytes in '{file}', found {len(key)}; restore the file")
        return cls(key)
