"""`ctonnx node`: wrong use is rejected at once, and status, retry and audit show and change a node's folder."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from ctonnx.cli.commands import node as command  # after the extra
from ctonnx.cli.main import main
from ctonnx.errors import ModelError
from ctonnx.prediction import predictor
from ctonnx.prediction.device import fastest_provider
from ctonnx.prediction.device.fastest_provider import Choice
from ctonnx.server.pacs.audit import AuditLog, open_site_key
from ctonnx.server.pacs.node.outbox import Outbox
from ctonnx.system import memory


def node(*words: object) -> Result:
    return CliRunner().invoke(main, ["node", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a node left, with a dead result and three lines of the audit log."""
    key = open_site_key(tmp_path)
    with closing(AuditLog(tmp_path, key)) as log:
        for state in ("started", "running", "stopped"):
            log.append("node", state=state)
    with closing(Outbox(tmp_path)) as outbox:
        outbox.finish("a", "c", 2, decision="positive", results=[("1.2", "sr")], destinations=["A@h:1"])
        outbox.mark_failed(outbox.due(1)[0], "it answered with status C000", wait=None)
    return tmp_path


def test_help_has_examples_and_the_subcommands() -> None:
    text = node("--help").stdout
    assert "ctonnx node --send-to ORTHANC@127.0.0.1:4242" in text
    for word in ("status", "retry", "audit"):
        assert "Example:\n    ctonnx node " in node(word, "--help").stdout
        assert f"  {word} " in text


TO = ("--send-to", "A@h:1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected --send-to or --stow, where results are sent, or --results none, found neither"),
        (("--send-to", "PACS"), "expected AE@HOST:PORT, such as PACS@10.1.0.7:104, found 'PACS' for --send-to"),
        (("--send-to", "PACS@h:99999"), "such as PACS@10.1.0.7:104, found 'PACS@h:99999' for --send-to"),
        (("--stow", "pacs:8042"), "http://pacs:8042/dicom-web, without a name and password, for --stow"),
        (
            ("--stow", "https://user:SECRET@pacs/dicom-web"),
            "http://pacs:8042/dicom-web, without a name and password, for --stow",
        ),
        ((*TO, "--stow-token", __file__), "expected --stow with --stow-token, found none"),
        ((*TO, "--ae-title", "x" * 17), "expected an AE title of 1 to 16 characters, found 'xxxxxxxxxxxxxxxxx'"),
        ((*TO, "--allow-ae", ""), "expected an AE title of 1 to 16 characters, found ''"),
        ((*TO, "--allow-address", "ten"), "expected an address or a network such as 10.1.0.0/16, found 'ten'"),
        ((*TO, "--tls-cert", __file__), "expected a certificate and its key together for TLS"),
        ((*TO, "--http", "8080x"), "expected HOST:PORT, such as 127.0.0.1:8080, for --http, found '8080x'"),
        ((*TO, "--settle", "0"), "Invalid value for '--settle'"),
        ((*TO, "--max-spool", "nan"), "Invalid value for '--max-spool'"),
        ((*TO, "--keep", "-1"), "Invalid value for '--keep'"),
        ((*TO, "--results", "seg"), "Invalid value for '--results'"),
        (("--folder", "x", "status"), "expected --folder after 'status', found it before"),
    ],
)
def test_wrong_use_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = node(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_status_retry_and_audit(folder: Path) -> None:
    shown = node("status", "--folder", folder).stdout
    assert "results:  0 sent, 0 queued, 1 dead" in shown
    assert "dead    sr 1.2 to A@h:1: 1 attempts; it answered with status C000" in shown
    assert json.loads(node("status", "--json", "--folder", folder).stdout)["results"]["dead"] == 1
    assert node("retry", "--folder", folder).stdout == "1 result queued again\n"
    assert "results:  0 sent, 1 queued, 0 dead" in node("status", "--folder", folder).stdout
    assert node("retry", "--folder", folder).stdout == "0 results queued again\n"
    lines = node("audit", "--folder", folder).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["started", "running", "stopped"]
    assert node("audit", "--verify", "--folder", folder).stdout == "3 lines, none was changed or removed\n"


def test_removed_line_of_the_audit_log_is_exit_code_1(folder: Path) -> None:
    log = folder / "audit.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    result = node("audit", "--verify", "--folder", folder)
    assert result.exit_code == 1
    assert "is not complete: expected line 1, found line 2" in result.stderr


def test_lines_that_a_start_found_missing_are_a_note(folder: Path) -> None:
    from ctonnx.server.pacs.audit import AuditLog, read_site_key

    log = folder / "audit.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    AuditLog(folder, read_site_key(folder)).close()
    result = node("audit", "--verify", "--folder", folder)
    assert (result.exit_code, result.stdout) == (0, "2 lines, none was changed or removed\n")
    assert result.stderr == "note: line 2 records that a start found 2 complete lines missing before it\n"


@pytest.mark.parametrize("word", ["status", "retry", "audit"])
def test_folder_of_no_node_is_an_error(tmp_path: Path, word: str) -> None:
    words = [word, "--verify"] if word == "audit" else [word]
    result = node(*words, "--folder", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: expected ")
    assert not (tmp_path / "none").exists()


def test_damaged_queue_is_one_sentence(folder: Path) -> None:
    (folder / "queue.sqlite").write_bytes(b"no database" * 999)
    result = node("status", "--folder", folder)
    assert result.exit_code == 2
    assert "expected a queue of results in" in result.stderr


@pytest.mark.parametrize(
    ("missing", "words", "sentence"),
    [
        ("pynetdicom", (), "'ctonnx node' needs "),
        ("highdicom", ("status",), "'ctonnx node' needs "),
        ("starlette", (*TO, "--http", "127.0.0.1:0"), "expected starlette for the page of --http, found none; pip "),
    ],
)
def test_missing_package_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, missing: str, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == missing else object())
    result = node(*(words or TO))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "pip install" in result.stderr


def test_memory_goes_back_and_each_thread_has_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {}

    def opened(model: Path, **settings: Any) -> None:
        found.update(settings)
        raise ModelError("no model")

    monkeypatch.setattr(
        memory, "return_freed_memory", lambda *, arenas: found.update({"memory goes back": arenas == 2})
    )
    monkeypatch.setattr(predictor, "Predictor", opened)
    assert node("--results", "none", "--folder", tmp_path, "--threads", 2).exit_code != 0
    assert (found["memory goes back"], found["workers"], found["spinning"]) == (True, 2, False)


def test_automatic_provider_is_measured_with_the_threads_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}

    def choose(model: Path | None, **options: Any) -> Choice:
        found.update(asked=(model, options["threads"], options["spinning"]))
        return Choice(provider="openvino", model=tmp_path / "model.fp32.onnx", candidates=())

    def opened(model: Path | None, *, provider: str, **settings: Any) -> None:
        found.update(opened=(model, provider))
        raise ModelError("no model")

    monkeypatch.setattr(memory, "return_freed_memory", lambda *, arenas: None)
    monkeypatch.setattr(fastest_provider, "fastest_provider", choose)
    monkeypatch.setattr(predictor, "Predictor", opened)
    words = ("--results", "none", "--folder", tmp_path, "--threads", 2, "--provider", "auto", "-m", "lungs")
    assert node(*words).stderr.startswith("provider: openvino (")
    assert found == {"asked": (Path("lungs"), 2, False), "opened": (Path("lungs"), "openvino")}
