"""`--trust` of predict, serve, node and verify: a model that no trusted key signed is not opened by onnxruntime."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.artifacts.provenance.signed_models import KeyPair, ctonnx, never_opened, rejections, spoil
from tests.runtime.cli.blocked_imports import ctonnx as ctonnx_without
from tests.runtime.cli.commands.predicting import GOOD

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.transport import lifecycle
from ctonnx.system import memory
from ctonnx.system.files import sha256_of

WAYS = ["unsigned", "altered", "signed by another key", "file added"]
COMMANDS = {
    "predict": ("predict", "scans/a.png"),
    "predict on ray": ("predict", "scans/a.png", "--engine", "ray", "--output", "rows"),
    "predict a shard": ("predict", "scans", "--shard", "1/2", "--output", "part.jsonl"),
    "predict with auto": ("predict", "scans/a.png", "--provider", "auto"),
    "predict with fallback": ("predict", "scans/a.png", "--provider", "directml", "--fallback"),
    "serve": ("serve", "--port", "0"),
    "node": ("node", "--results", "none", "--port", "0", "--folder", "node"),
}
NEEDS = {"node": "highdicom", "serve": "starlette", "predict on ray": "ray"}


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves this process's memory as it is, and a server ends at once."""

    def run(app: Any, sockets: list[Any], **settings: Any) -> int:
        for taken in sockets:
            taken.close()
        return 0

    monkeypatch.setattr(memory, "return_freed_memory", lambda **options: None)
    monkeypatch.setattr(lifecycle, "serve", run)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_model_that_is_not_trusted_is_rejected_before_it_is_opened(
    signed: Path,
    scans: Path,
    maker: KeyPair,
    other: KeyPair,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    way: str,
) -> None:
    if command in NEEDS and find_spec(NEEDS[command]) is None:
        pytest.skip(f"{NEEDS[command]} is not installed")
    sentence = rejections(signed, maker, other)[way]
    spoil(signed, way, other)
    never_opened(monkeypatch)
    for named in (signed, signed / "model.fp32.onnx"):
        result = ctonnx(*COMMANDS[command], "--model", named, "--trust", maker.public)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert result.stderr.splitlines()[-1] == f"Error: {sentence}"
    assert not Path("part.jsonl").exists()
    assert not Path("rows").exists()


def test_trusted_model_predicts_and_its_key_is_named(signed: Path, scans: Path, maker: KeyPair, other: KeyPair) -> None:
    plain = ctonnx("predict", *GOOD, "--model", signed)
    trusted = ctonnx("predict", *GOOD, "--model", signed, "--trust", other.public, "--trust", maker.public)
    assert (trusted.exit_code, trusted.stdout) == (0, plain.stdout)
    lines = trusted.stderr.splitlines()
    assert lines[1] == f"signed by: sha256:{maker.fingerprint}"
    assert "signed by" not in plain.stderr


def test_trusted_model_is_served(signed: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette", reason="starlette (the extra serve) is not installed")
    result = ctonnx("serve", "--port", 0, "--model", signed, "--trust", maker.public)
    assert result.exit_code == 0, result.output
    assert f"signed by: sha256:{maker.fingerprint}\n" in result.stderr


def test_trusted_model_is_the_one_of_a_node(
    signed: Path, maker: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")
    from ctonnx.server.pacs.node import node, worker

    found: list[Predictor] = []

    def ended(predictor: Predictor, *arguments: Any, **options: Any) -> None:
        found.append(predictor)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "required_rule", lambda predictor: None)
    monkeypatch.setattr(node, "Node", ended)
    words = ("--results", "none", "--port", 0, "--folder", tmp_path / "node")
    result = ctonnx("node", *words, "--model", signed, "--trust", maker.public)
    assert result.exit_code == 130, result.output
    assert [predictor.signed_by for predictor in found] == [maker.fingerprint]


@pytest.mark.parametrize(
    "words",
    [("--output", "rows.csv"), ("--by", "folder", "--output", "rows.csv"), ("--shard", "1/1", "-o", "rows.jsonl")],
)
def test_rows_have_the_hash_of_the_bytes_that_were_opened(
    signed: Path, scans: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Also if the file is exchanged while the command runs."""
    model = signed / "model.fp32.onnx"
    before = sha256_of(model)

    def exchanged(predictor: Predictor, *, newest: bool) -> None:
        model.write_bytes(b"another model")
        assert predictor.sha256 == before

    monkeypatch.setattr("ctonnx.cli.commands.predict.show_model", exchanged)
    (scans / "b.png").unlink()  # no image
    result = ctonnx("predict", "scans", "--model", signed, "--trust", maker.public, *words)
    assert result.exit_code == 0, result.output
    (rows,) = Path().glob("rows.*")
    assert before in rows.read_text()
    assert sha256_of(model) not in rows.read_text()


def test_tuned_settings_are_not_signed(signed: Path, scans: Path, maker: KeyPair) -> None:
    result = ctonnx("predict", "scans/a.png", "--model", signed, "--trust", maker.public, "--tuned")
    assert result.exit_code == 2
    assert "expected --tuned without --trust: no signature covers the file with its settings" in result.stderr


def test_pacs_is_not_asked_for_a_model_that_is_not_trusted(
    signed: Path, maker: KeyPair, other: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dicomweb_client", reason="dicomweb_client (the extra pacs) is not installed")
    from ctonnx.server.pacs import retrieval

    monkeypatch.setattr(retrieval, "retrieved_study", lambda *arguments: pytest.fail("the PACS was asked"))
    words = ("--dicomweb", "http://127.0.0.1:1/dicom-web", "--study", "1.2.3")
    result = ctonnx("predict", *words, "--model", signed, "--trust", other.public)
    assert result.exit_code == 2
    assert rejections(signed, other, maker)["signed by another key"] in result.stderr


@pytest.mark.parametrize("way", WAYS)
def test_verify_fails_with_exit_code_1_and_opens_nothing(
    signed: Path, maker: KeyPair, other: KeyPair, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    sentence = rejections(signed, maker, other)[way]
    spoil(signed, way, other)
    never_opened(monkeypatch)
    result = ctonnx("verify", signed, "--trust", maker.public)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {sentence}\n")
    result = ctonnx("verify", signed, "--trust", maker.public, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (
        1,
        {"verified": False, "signature": {"failure": sentence}, "models": []},
    )


def test_verify_checks_the_signature_and_then_the_outputs(signed: Path, maker: KeyPair) -> None:
    result = ctonnx("verify", signed, "--trust", maker.public)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("signature: valid, ")
    assert lines[0].endswith(f" files by key sha256:{maker.fingerprint}")
    assert lines[-1] == "  verified"
    document = json.loads(ctonnx("verify", signed, "--trust", maker.public, "--json").stdout)
    assert document["verified"]
    assert document["signature"]["key"] == maker.fingerprint
    assert "golden.npz" in document["signature"]["files"]
    assert "signature" not in json.loads(ctonnx("verify", signed, "--json").stdout)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *(
            ((*words, "--trust", "key.pub"), "expected the package 'model_signing' for --trust, found none")
            for words in (("predict", "scan.png"), ("verify",), ("serve", "--port", "0"))
        ),
        (("sign", "--key", "key.pub"), "'ctonnx sign' needs the package 'model_signing', which is not installed"),
    ],
)
def test_without_the_extra_it_is_named(export: Path, words: tuple[str, ...], sentence: str) -> None:
    Path("key.pub").touch()
    done = ctonnx_without(*words, without=("model_signing",), cwd=Path.cwd())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'Error: {sentence}; pip install "ctonnx[sign]"\n'


def test_without_the_extra_all_else_works(signed: Path) -> None:
    for words in (("verify",), ("inspect",), ("inspect", "--bom")):
        done = ctonnx_without(*words, without=("model_signing", "cryptography"), cwd=Path.cwd())
        assert done.returncode == 0, done.stderr
