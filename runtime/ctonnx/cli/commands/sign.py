"""`ctonnx sign`: signs the folder of a model."""

import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import click

__all__ = ["PASSPHRASE", "sign"]

PASSPHRASE = "CTONNX_KEY_PASSPHRASE"  # noqa: S105  (the name of a variable)
"""Environment variable with the passphrase of the key."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="PEM file of your private key, on the curve P-256, P-384 or P-521.",
)
def sign(folder: Path | None, key: Path) -> None:
    """Sign the folder of a model.

    FOLDER is the folder that ctonnx export wrote, or a run; default: the newest run with an export. Writes model.sig
    into it: a signature of all its files in the format of OpenSSF Model Signing, made without a network. --trust of
    predict, serve, node and verify then takes this folder only as it is, so sign it last, and copy it as a whole.

    The passphrase of an encrypted key is asked for, or read from the environment variable CTONNX_KEY_PASSPHRASE.

    \b
    Examples:
      openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out key.pem
      openssl pkey -in key.pem -pubout -out maker.pub
      ctonnx sign --key key.pem
      ctonnx sign lungs-model --key key.pem
    """
    import_module("cryptography")  # before all else: the group's sentence names the extra
    import_module("model_signing")
    from ctonnx.artifacts.provenance.signature import short
    from ctonnx.artifacts.provenance.signing import sign_folder
    from ctonnx.artifacts.run import names_a_file
    from ctonnx.errors import CtonnxError
    from ctonnx.prediction.model_selection import export_folder, newest_export
    from ctonnx.system.text import counted

    log = partial(click.echo, err=True)
    if names_a_file(folder):
        raise CtonnxError(
            f"expected the folder of a model, as a signature covers all files in it, found the file '{folder}'; sign "
            f"its folder with: ctonnx sign {folder.parent} --key {key}"
        )
    found = export_folder(folder)
    if folder is None:
        log(f"model: {found} ({newest_export().description})")
    done = sign_folder(found, key, partial(_passphrase, key), log)
    if done.replaced is not None and done.replaced != done.signed.key:
        by = f"the key {short(done.replaced)}" if done.replaced else "an unknown key"
        log(f"note: this replaces a signature by {by}")
    for name in sorted(done.signed.files):
        click.echo(f"signed: {name}")
    click.echo(f"{found / done.file.name}: {counted(len(done.signed.files), 'file')}, key sha256:{done.signed.key}")
    log(
        f"next: give others your public key (openssl pkey -in {key} -pubout -out maker.pub), and by another way its "
        "fingerprint"
    )


def _passphrase(key: Path) -> str:
    """Returns the passphrase of a key.

    Raises:
        CtonnxError: If there is none in the environment, and nobody to ask.
    """
    from ctonnx.errors import CtonnxError

    if (given := os.environ.get(PASSPHRASE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise CtonnxError(
            f"expected the passphrase of the encrypted key '{key}', found neither a terminal to ask at nor the "
            f"environment variable {PASSPHRASE}; set it, or sign at a terminal"
        )
    answer: str = click.prompt(f"passphrase of {key}", hide_input=True, err=True)
    return answer
