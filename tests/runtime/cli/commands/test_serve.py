"""`ctonnx serve`: wrong use is rejected at once, and options reach the server."""

import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli.main import main
from ctonnx.prediction.device import fastest_provider
from ctonnx.prediction.device.fastest_provider import Choice
from ctonnx.server.monitoring.usage_log import UsageLog
from ctonnx.server.transport import lifecycle
from ctonnx.server.transport.middleware import RequestMiddleware
from ctonnx.system import memory

KEY = "correct horse battery staple"


def serve(*words: object) -> Result:
    return CliRunner().invoke(main, ["serve", *map(str, words)])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings with which the server was started; it ends at once instead of serving."""
    found: dict[str, Any] = {}

    def run(app: RequestMiddleware, sockets: list[Any], **settings: Any) -> int:
        for taken in sockets:
            taken.close()
        settings["ready"]()
        found.update(settings, app=app)
        return 0

    monkeypatch.setattr(lifecycle, "serve", run)
    monkeypatch.setattr(memory, "return_freed_memory", lambda: found.update({"memory goes back": True}))
    return found


def key_file(folder: Path, content: str | bytes = f"{KEY}\n") -> Path:
    file = folder / "key"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(0o600)
    return file


def test_server_ends_with_zero(model: Path, seen: dict[str, Any]) -> None:
    result = serve("--model", model, "--port", 0)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"model: {model} (fp32 on cpu)\n")
    assert "serving: http://127.0.0.1:" in result.stderr
    assert "warning" not in result.stderr
    assert (seen["certificate"], seen["private_key"], seen["grace"]) == (None, None, 60.0)
    assert seen["memory goes back"]


def test_every_option_reaches_the_server(
    model: Path, seen: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    from ctonnx.server import app

    def make_app(predictor: Any, settings: Any, *, version: str, usage: UsageLog | None) -> Any:
        found.update(settings=settings, predictor=predictor, version=version, usage=usage)

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
        "--model-name": "lungs-1.2_b",
        "--usage-log": tmp_path / "usage",
    }
    result = serve("-m", model, "--port", 0, *[word for pair in options.items() for word in pair])
    assert result.exit_code == 0, result.stderr
    settings, limits = found["settings"], found["settings"].limits
    assert (settings.max_batch, settings.max_delay, settings.queue) == (3, 0.005, 9)
    assert (settings.key, settings.origins) == (KEY, ("https://a.example",))
    assert settings.model_name == "lungs-1.2_b"
    assert isinstance(found["usage"], UsageLog)
    assert (tmp_path / "usage").is_file()
    assert (limits.body_bytes, limits.pixels, limits.files) == (1 << 19, 2_000_000, 8)
    assert (limits.body_seconds, limits.seconds, seen["grace"]) == (7.0, 7.0, 14.0)
    assert seen["certificate"] == tmp_path / "key"
    assert (found["predictor"].threads, found["predictor"].spinning) == (1, False)
    assert "serving: https://127.0.0.1:" in result.stderr


@pytest.mark.parametrize("name", ["", "a/b", "..", "ä", "a" * 254])
def test_model_name_that_is_no_part_of_an_address_is_rejected(model: Path, name: str) -> None:
    result = serve("-m", model, "--model-name", name)
    assert result.exit_code == 2
    assert "expected a model name of letters, digits, '.', '_' and '-', at most 253, found" in result.stderr


def test_automatic_provider_is_measured_with_the_threads_of_the_server(
    model: Path, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def choose(model: Path, **options: Any) -> Choice:
        asked.append((model, options["threads"], options["spinning"]))
        return Choice(provider="cpu", model=model, candidates=())

    monkeypatch.setattr(fastest_provider, "fastest_provider", choose)
    result = serve("-m", model, "--port", 0, "--provider", "auto", "--threads", 1)
    assert result.exit_code == 0
    assert result.stderr.startswith(
        f"provider: cpu (the only provider that is installed)\nmodel: {model} (fp32 on cpu)"
    )
    assert asked == [(model, 1, False)]


def test_port_in_use_is_reported_before_auto_measures(
    model: Path, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_provider, "fastest_provider", lambda *arguments, **options: pytest.fail("measured"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = serve("-m", model, "--port", taken.getsockname()[1], "--provider", "auto")
    assert result.exit_code == 2
    assert "it is in use" in result.stderr


def test_reachable_server_without_a_key_gives_a_warning(model: Path, seen: dict[str, Any], tmp_path: Path) -> None:
    warning = "warning: other machines can reach this server, and it requires no API key; see --api-key-file\n"
    assert warning in serve("-m", model, "--port", 0, "--host", "0.0.0.0").stderr  # noqa: S104
    locked = serve("-m", model, "--port", 0, "--host", "0.0.0.0", "--api-key-file", key_file(tmp_path))  # noqa: S104
    assert locked.exit_code == 0
    assert warning not in locked.stderr
    assert "warning: the key and the scans are sent unencrypted; see --tls-cert" in locked.stderr


@pytest.mark.parametrize("content", ["two\nlines", "ключ", b"\xff\xfe\x00\x01"])
def test_key_file_with_something_else_is_rejected(content: str | bytes, model: Path, tmp_path: Path) -> None:
    result = serve("-m", model, "--api-key-file", key_file(tmp_path, content))
    assert result.exit_code == 2
    assert "expected one line of printable ASCII characters in" in result.stderr


@pytest.mark.parametrize("content", ["", "\n"])
def test_key_file_without_a_key_is_rejected(content: str, model: Path, tmp_path: Path) -> None:
    result = serve("-m", model, "--api-key-file", key_file(tmp_path, content))
    assert result.exit_code == 2
    assert f"expected a key in '{tmp_path / 'key'}', found an empty file; make one: openssl rand" in result.stderr


def test_short_key_gives_a_warning(model: Path, seen: dict[str, Any], tmp_path: Path) -> None:
    result = serve("-m", model, "--port", 0, "--api-key-file", key_file(tmp_path, "hunter2"))
    assert result.exit_code == 0
    assert "warning: the key has only 7 characters and can be guessed; make one: openssl rand" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_key_file_that_every_user_can_read_gives_a_warning(model: Path, seen: dict[str, Any], tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.chmod(0o644)
    warning = f"warning: every user of this machine can read the key in '{file}'; chmod 600 '{file}'\n"
    assert warning in serve("-m", model, "--port", 0, "--api-key-file", file).stderr
    assert warning in serve("-m", model, "--port", 0, "--tls-cert", file, "--tls-key", file).stderr


def test_any_origin_without_a_key_gives_a_warning(model: Path, seen: dict[str, Any], tmp_path: Path) -> None:
    warning = "warning: pages of any site can send requests to this server"
    assert warning in serve("-m", model, "--port", 0, "--allow-origin", "*").stderr
    locked = serve("-m", model, "--port", 0, "--allow-origin", "*", "--api-key-file", key_file(tmp_path))
    assert (locked.exit_code, "warning" in locked.stderr) == (0, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tls-cert", "pyproject.toml"], "expected both --tls-cert and --tls-key, found one of them"),
        (["--queue", "8"], "use --queue 64 or more, or add --max-files 8"),
        (["--allow-origin", "viewer.example"], "expected * or a site as in https://viewer.example"),
        (["--allow-origin", "https://viewer.example/page"], "no path, found 'https://viewer.example/page'"),
        (["--max-delay-ms", "nan"], "expected a finite number, found nan"),
        (["--max-body-mb", "1e-9"], "1e-09 is not in the range"),
        (["--time-limit", "inf"], "inf is not in the range"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--time-limit", "0"], "0 is not in the range"),
        (["--model", "nothing.onnx"], "expected an .onnx file, found no file at 'nothing.onnx'"),
    ],
)
def test_wrong_use_is_reported(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    result = serve("--port", 0, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_the_server_like_every_command(
    number: signal.Signals, code: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(app: RequestMiddleware, sockets: list[Any], **settings: Any) -> int:
        for taken in sockets:
            taken.close()
        return int(number)

    monkeypatch.setattr(lifecycle, "serve", run)
    result = serve("-m", model, "--port", 0)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (code, "ctonnx: stopped")
