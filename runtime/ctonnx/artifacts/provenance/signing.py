"""Signs the folder of a model in the format of OpenSSF Model Signing, with a key and without a network."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.artifacts.onnx_file.integrity import check_content
from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx.artifacts.provenance.keys import read_private_key
from ctonnx.artifacts.provenance.signature import SIGNATURE_FILE, claims_in, is_of_device, read_signature
from ctonnx.artifacts.provenance.trust import SignedFolder, checked_files, covered_names
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError, ModelError
from ctonnx.system.files import atomic_file
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log

__all__ = ["Signing", "sign_folder"]


@dataclass(frozen=True, kw_only=True)
class Signing:
    """A folder that was signed.

    Attributes:
        signed: Its files and its key.
        file: The signature.
        replaced: Fingerprint of the key in the signature that it replaces, or an empty text if that names none; None if
            there was no signature.
    """

    signed: SignedFolder
    file: Path
    replaced: str | None


def sign_folder(folder: Path, key: Path, ask: Callable[[], str], log: Log = lambda line: None) -> Signing:
    """Signs all files of a folder with models, except those that ctonnx measured on a device.

    Each model is checked first: it must have a spec, a graph like an export's, and the checksum of its spec. The new
    signature is checked before it gets its name.

    Args:
        folder: Folder of one or more models.
        key: PEM file of a private EC key.
        ask: Returns the passphrase of the key; called only if it is encrypted.
        log: Called with messages about temporary files of killed processes.

    Raises:
        ModelError: If the folder has no model, a model is damaged, or a file is a link.
        CtonnxError: If the key cannot be read.
        OSError: If a file cannot be read, or the signature cannot be written.
    """
    from model_signing import hashing, signing

    folder = folder.resolve()
    remove_leftovers([folder], log)
    names = covered_names(folder)
    models = sorted(name for name in names if name.endswith(".onnx"))
    if not models:
        raise ModelError(
            f"expected a folder with an .onnx file, found none in '{folder}'; make one with: ctonnx export RUN"
        )
    for name in models:
        check_graph(folder / name)
        ModelSpec.of_file(folder / name)
        check_content(folder / name)
    private = read_private_key(key, ask)
    before = read_signature(folder)
    left_out = [SIGNATURE_FILE, *(file.name for file in sorted(folder.iterdir()) if is_of_device(file.name))]
    hashed = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    hashed.set_ignored_paths(paths=left_out, ignore_git_paths=False)
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as made:
        file = Path(made, SIGNATURE_FILE)
        passphrase: Any = (
            private.passphrase
        )  # annotated as text there, and passed on to a library that takes bytes only
        signer = signing.Config().use_elliptic_key_signer(private_key=private.file, password=passphrase)
        signer.set_hashing_config(hashed).sign(folder, file)
        content = file.read_bytes()
    files = checked_files(folder, content, private.public)
    if files is None or files.keys() != names:
        raise CtonnxError(f"expected a valid signature of all files in '{folder}', found another one; report this")
    with atomic_file(folder / SIGNATURE_FILE) as temporary:
        temporary.write_bytes(content)
    return Signing(
        signed=SignedFolder(folder=folder, key=private.public.fingerprint, files=files),
        file=folder / SIGNATURE_FILE,
        replaced=None if before is None else claims_in(before).key or "",
    )
