"""`ctonnx serve`: wrong use is told at once, what it is told reaches the server."""

import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli import main
from ctonnx.server import listening
from ctonnx.server.security import Front


def serve(*words: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, words)])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server was started with, in the place of serving; it ends at once."""
    found: dict[str, Any] = {}

    def run(app: Front, sockets: list[Any], **settings: Any) -> int:
        for taken in sockets:
            taken.close()
        settings["ready"]()
        found.update(settings, app=app)
        return int(signal.SIGTERM)

    monkeypatch.setattr(listening, "serve", run)
    return found


def key_file(folder: Path, content: str = "horse\n") -> Path:
    (folder / "key").write_text(content, encoding="utf-8")
    return folder / "key"


def test_server_ends_with_zero(model: Path, seen: dict[str, Any]) -> None:
    result = serve("--model", model, "--port", 0)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"model: {model} (fp32 on cpu)\n")
    assert "serving: http://127.0.0.1:" in result.stderr
    assert "warning" not in result.stderr
    assert (seen["certificate"], seen["private_key"], seen["grace"]) == (None, None, 60.0)


def test_every_option_reaches_the_server(
    model: Path, seen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    from ctonnx.server import app

    def make_app(predictor: Any, settings: Any, *, version: str) -> Any:
        found.update(settings=settings, predictor=predictor, version=version)

    monkeypatch.setattr(app, "make_app", make_app)
    options = {
        "--threads": 1,
        "--max-batch": 3,
        "--max-delay-ms": 5,
        "--queue": 9,
        "--time-limit": 7,
        "--max-body-mb": 0.5,
        "--max-megapixels": 2,
        "--max-files": 8,
        "--api-key-file": key_file(tmp_path),
        "--tls-cert": key_file(tmp_path),
        "--tls-key": key_file(tmp_path),
        "--allow-origin": "https://a.example",
    }
    result = serve("-m", model, "--port", 0, *[word for pair in options.items() for word in pair])
    assert result.exit_code == 0, result.stderr
    settings, limits = found["settings"], found["settings"].limits
    assert (settings.max_batch, settings.max_delay, settings.queue) == (3, 0.005, 9)
    assert (settings.key, settings.origins) == ("horse", ("https://a.example",))
    assert (limits.body_bytes, limits.pixels, limits.files) == (1 << 19, 2_000_000, 8)
    assert (limits.body_seconds, limits.seconds, seen["grace"]) == (7.0, 7.0, 14.0)
    assert seen["certificate"] == tmp_path / "key"
    assert (found["predictor"].threads, found["predictor"].spinning) == (1, False)
    assert "serving: https://127.0.0.1:" in result.stderr


def test_everybody_who_may_ask_without_a_key_is_warned_of(model: Path, seen: dict[str, Any], tmp_path: Path) -> None:
    warning = "warning: other machines may reach this server, and it asks for no key; see --api-key-file\n"
    assert warning in serve("-m", model, "--port", 0, "--host", "0.0.0.0").stderr  # noqa: S104
    locked = serve("-m", model, "--port", 0, "--host", "0.0.0.0", "--api-key-file", key_file(tmp_path))  # noqa: S104
    assert (locked.exit_code, "warning" in locked.stderr) == (0, False)


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "ключ"])
def test_key_file_without_a_key_is_refused(content: str, model: Path, tmp_path: Path) -> None:
    result = serve("-m", model, "--api-key-file", key_file(tmp_path, content))
    assert result.exit_code == 2
    assert "expected one line of printable ASCII characters in" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tls-cert", "pyproject.toml"], "expected --tls-cert and --tls-key together, found one alone"),
        (["--queue", "63"], "expected a --queue with room for the 64 images of one request, found 63"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--time-limit", "0"], "0 is not in the range"),
        (["--model", "nothing.onnx"], "expected an .onnx file, found no file at 'nothing.onnx'"),
    ],
)
def test_wrong_use_is_told(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    result = serve("--port", 0, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_interrupt_is_told_as_by_every_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(app: Front, sockets: list[Any], **settings: Any) -> int:
        for taken in sockets:
            taken.close()
        return int(signal.SIGINT)

    monkeypatch.setattr(listening, "serve", run)
    result = serve("-m", model, "--port", 0)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "ctonnx: stopped")
