"""`ctonnx sign`: the folder of a model, its key, and its passphrase, which is on no command line."""

from pathlib import Path

import pytest
from tests.runtime.artifacts.provenance.signed_models import KeyPair, ctonnx, make_keys

from ctonnx.artifacts.provenance.trust import check_signature
from ctonnx.cli.commands import sign as command


def test_newest_run_is_signed_and_its_files_and_key_are_shown(export: Path, maker: KeyPair) -> None:
    files = sorted(file.name for file in export.iterdir())
    result = ctonnx("sign", "--key", maker.private)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        *(f"signed: {name}" for name in files),
        f"runs/tiny/export/model.sig: {len(files)} files, key sha256:{maker.fingerprint}",
    ]
    assert result.stderr.splitlines()[0] == "model: runs/tiny/export (the newest run's)"
    assert check_signature(export, [maker.public]).files.keys() == set(files)


@pytest.mark.parametrize("named", ["tiny", "runs/tiny", "runs/tiny/export"])
def test_run_and_folder_are_signed(export: Path, maker: KeyPair, named: str) -> None:
    assert ctonnx("sign", named, "--key", maker.private).exit_code == 0
    check_signature(export, [maker.public])


def test_another_signature_that_is_replaced_is_named(signed: Path, maker: KeyPair, other: KeyPair) -> None:
    assert (
        f"note: this replaces a signature by the key {maker.short}\n" in ctonnx("sign", "--key", other.private).stderr
    )
    assert "replaces" not in ctonnx("sign", "--key", other.private).stderr


def test_file_is_not_signed_alone(export: Path, maker: KeyPair) -> None:
    result = ctonnx("sign", "runs/tiny/export/model.fp32.onnx", "--key", maker.private)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: expected the folder of a model, as a signature covers all files in it, found the file "
        f"'runs/tiny/export/model.fp32.onnx'; sign its folder with: ctonnx sign runs/tiny/export --key "
        f"{maker.private}\n"
    )


def test_passphrase_is_read_from_the_environment(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = make_keys(tmp_path / "keys", "encrypted", locked_by="geheim")
    result = ctonnx("sign", "--key", keys.private)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"Error: expected the passphrase of the encrypted key '{keys.private}', found neither a terminal to ask at nor "
        "the environment variable CTONNX_KEY_PASSPHRASE; set it, or sign at a terminal"
    )
    monkeypatch.setenv("CTONNX_KEY_PASSPHRASE", "wrong")
    result = ctonnx("sign", "--key", keys.private)
    assert result.stderr.splitlines()[-1] == (
        f"Error: expected the passphrase of the key in '{keys.private}', found another one"
    )
    assert not (export / "model.sig").exists()
    monkeypatch.setenv("CTONNX_KEY_PASSPHRASE", "geheim")
    assert ctonnx("sign", "--key", keys.private).exit_code == 0
    check_signature(export, [keys.public])


def test_passphrase_is_asked_for_at_a_terminal_and_not_printed(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(tmp_path / "keys", "encrypted", locked_by="geheim")
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        asked.append((text, hide_input and err))
        return "geheim"

    monkeypatch.setattr("ctonnx.cli.commands.sign.click.prompt", prompt)
    monkeypatch.setattr("ctonnx.cli.commands.sign.sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert command._passphrase(keys.private) == "geheim"
    assert asked == [(f"passphrase of {keys.private}", True)]


def test_key_is_required_and_must_exist(export: Path) -> None:
    assert "Missing option '--key'" in ctonnx("sign").stderr
    assert "'none.pem' does not exist" in ctonnx("sign", "--key", "none.pem").stderr
