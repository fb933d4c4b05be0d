"""`ctonnx serve`: a web page, an HTTP API, and the Open Inference Protocol over gRPC."""

import os
import re
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ctonnx.cli.model_banner import chosen_provider, show_model
from ctonnx.cli.options import (
    FiniteRange,
    automatic_provider_option,
    fallback_option,
    model_option,
    opened_usage_log,
    threads_option,
    trust_option,
    usage_log_option,
)
from ctonnx.errors import CtonnxError
from ctonnx.server.settings import Limits, Settings
from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.inference.providers import Provider
    from ctonnx.server.grpc.listener import GrpcListener

__all__ = ["serve"]

_MEGABYTE = 1 << 20
_KEY_BYTES = 1 << 16  # largest key file
_SHORT_KEY = 16  # characters; shorter keys give a warning
_MAKE_A_KEY = "make one: openssl rand -hex 32"
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


def _origins(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise click.BadParameter(f"expected * or a site as in https://viewer.example, no path, found '{origin}'")
    return value


def _model_name(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return Settings(model_name=value).model_name
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"show_default": True})
@model_option
@click.option(
    "--model-name",
    metavar="NAME",
    callback=_model_name,
    help="Name of the model in /v2/models/NAME; default: its file's, without .onnx.",
)
@trust_option
@automatic_provider_option
@fallback_option
@threads_option
@click.option("--host", default="127.0.0.1", help="Address or host name to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port; 0 takes a free one.")
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Port of the Open Inference Protocol over gRPC, on the same host; 0 takes a free one. Needs the extra grpc.",
)
@click.option(
    "--max-batch", type=click.IntRange(1), help="Maximum number of images per batch.  [default: 4 on a CPU, else 32]"
)
@click.option(
    "--max-delay-ms",
    type=FiniteRange(0, 60_000),
    default=Settings.max_delay * 1e3,
    help="Maximum time that an incomplete batch waits for images while another batch is computed.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=Settings.queue,
    help="Maximum number of images in progress; further requests get status 503.",
)
@click.option(
    "--time-limit",
    type=FiniteRange(0.001, 86_400),
    default=Limits.seconds,
    metavar="SECONDS",
    help="Time limit for receiving a request, and for its response after that.",
)
@click.option(
    "--max-body-mb",
    type=FiniteRange(0.001),
    default=Limits.body_bytes / _MEGABYTE,
    help="Maximum request size, in MiB.",
)
@click.option(
    "--max-megapixels", type=FiniteRange(0.001), default=Limits.pixels / 1e6, help="Maximum image size, in megapixels."
)
@click.option(
    "--max-files",
    type=click.IntRange(1),
    default=Limits.files,
    help="Maximum number of files per request, and of frames per file.",
)
@click.option(
    "--api-key-file", type=_FILE, help="File with the API key that requests must send: Authorization: Bearer KEY."
)
@click.option("--tls-cert", type=_FILE, help="TLS certificate, in PEM.")
@click.option("--tls-key", type=_FILE, help="Private key of the certificate.")
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    callback=_origins,
    help="Site whose pages may send requests (CORS); may be repeated.",
)
@usage_log_option
def serve(
    model: Path | None,
    model_name: str | None,
    trust: tuple[Path, ...],
    provider: "Provider | Literal['auto']",
    fallback: bool,
    threads: int | None,
    host: str,
    port: int,
    grpc_port: int | None,
    max_batch: int | None,
    max_delay_ms: float,
    queue: int,
    time_limit: float,
    max_body_mb: float,
    max_megapixels: float,
    max_files: int,
    api_key_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    origins: tuple[str, ...],
    usage_log: Path | None,
) -> None:
    """Serve a web page and an HTTP API.

    / is a page to drop scans on, /v1/classify predicts uploaded files, /v2 is the Open Inference Protocol, /metrics is
    for Prometheus, /openapi.json describes them. --grpc-port adds the protocol over gRPC, with the same key,
    certificate and limits. At SIGTERM and Ctrl-C, requests in progress are finished first.

    \b
    Examples:
      ctonnx serve
      ctonnx serve --model runs/lungs --port 9000
      ctonnx serve --provider auto
      ctonnx serve --grpc-port 8001
      ctonnx serve --model lungs-model --trust maker.pub
      ctonnx serve --host 0.0.0.0 --api-key-file key --tls-cert cert.pem --tls-key key.pem
      curl --data-binary @scan.png -H "Content-Type: image/png" http://127.0.0.1:8000/v1/classify
    """
    import ctonnx
    from ctonnx.inference.providers import PROVIDERS
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.server.app import make_app
    from ctonnx.server.transport.lifecycle import bind, is_reachable
    from ctonnx.server.transport.lifecycle import serve as run
    from ctonnx.system.file_reading import check_file
    from ctonnx.system.memory import return_freed_memory

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("expected both --tls-cert and --tls-key, found one of them")
    listener_type = None if grpc_port is None else _grpc_listener()
    if queue < max_files:
        raise click.UsageError(
            f"expected a --queue of at least the {max_files} images that one request may have, found {queue}; use "
            f"--queue {max_files} or more, or add --max-files {queue}"
        )
    limits = Limits(
        body_bytes=int(max_body_mb * _MEGABYTE),
        body_seconds=time_limit,
        pixels=int(max_megapixels * 1e6),
        files=max_files,
        seconds=time_limit,
    )
    key = None if api_key_file is None else _key(api_key_file)
    for file in filter(None, (tls_cert, tls_key)):
        check_file(file, most=_MEGABYTE)
    return_freed_memory()
    with ExitStack() as ends:
        sockets = bind(host, port)
        for taken in sockets:
            ends.callback(taken.close)
        grpc_sockets = [] if grpc_port is None else bind(host, grpc_port, "--grpc-port")
        for taken in grpc_sockets:
            ends.callback(taken.close)
        chosen = chosen_provider(provider, model, threads, spinning=False, trust=trust)
        # Idle threads that sleep leave the cores to decoding and to responses, and an idle server uses no CPU time.
        predictor = ends.enter_context(
            Predictor(model, provider=chosen, fallback=fallback, threads=threads, spinning=False, trust=trust)
        )
        settings = Settings(
            limits=limits,
            queue=queue,
            max_batch=max_batch or PROVIDERS[predictor.provider].batch_size,
            max_delay=max_delay_ms / 1e3,
            key=key,
            origins=origins,
            model_name=model_name,
        )
        show_model(predictor, newest=model is None)
        secrets = [file for file in (api_key_file, tls_key) if file]
        for warning in _warnings(
            key, secrets, origins, reachable=is_reachable(sockets), encrypted=tls_cert is not None
        ):
            click.echo(f"warning: {warning}", err=True)
        scheme = "http" if tls_cert is None else "https"
        name = f"[{host}]" if ":" in host else host
        lines = [f"serving: {scheme}://{name}:{sockets[0].getsockname()[1]}"]
        usage = None if usage_log is None else ends.enter_context(opened_usage_log(usage_log, predictor.sha256))
        app = make_app(predictor, settings, version=ctonnx.__version__, usage=usage)
        listener = None
        if listener_type is not None:
            lines.insert(0, f"serving gRPC: {name}:{grpc_sockets[0].getsockname()[1]}")
            listener = listener_type(app, grpc_sockets, settings, certificate=tls_cert, private_key=tls_key)
        ended_by = run(
            app,
            sockets,
            grace=2 * time_limit,
            ready=lambda: click.echo("\n".join(lines), err=True),
            stopping=lambda requests: click.echo(
                f"stopping: {counted(requests, 'request')} to finish; a second signal aborts them", err=True
            ),
            certificate=tls_cert,
            private_key=tls_key,
            listener=listener,
        )
    if ended_by:
        signal.raise_signal(ended_by)  # the exit code and the message are those of every command


def _grpc_listener() -> "type[GrpcListener]":
    try:
        from ctonnx.server.grpc.listener import GrpcListener
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("google", "grpc"):
            raise  # without the extra serve
        raise CtonnxError(
            f"expected the package '{error.name}' for --grpc-port, found none; pip install \"ctonnx[grpc]\""
        ) from error
    return GrpcListener


def _key(file: Path) -> str:
    """Returns the key in a file, without white space around it."""
    from ctonnx.system.file_reading import read_bytes

    content = read_bytes(file, most=_KEY_BYTES).strip()
    if not content:
        raise click.UsageError(f"expected a key in '{file}', found an empty file; {_MAKE_A_KEY} > key")
    if not all(0x20 <= character < 0x7F for character in content):
        raise click.UsageError(
            f"expected one line of printable ASCII characters in '{file}', found something else; {_MAKE_A_KEY} > key"
        )
    return content.decode("ascii")


def _warnings(
    key: str | None, secrets: Sequence[Path], origins: Sequence[str], *, reachable: bool, encrypted: bool
) -> Iterator[str]:
    """Yields a warning for each way in which the server is less protected than its owner may expect."""
    if reachable and key is None:
        yield "other machines can reach this server, and it requires no API key; see --api-key-file"
    if reachable and key is not None and not encrypted:
        yield "the key and the scans are sent unencrypted; see --tls-cert, or use a proxy with TLS"
    if "*" in origins and key is None:
        yield "pages of any site can send requests to this server from a browser, and it requires no API key"
    if key is not None and len(key) < _SHORT_KEY:
        yield f"the key has only {len(key)} characters and can be guessed; {_MAKE_A_KEY} > key"
    for file in secrets:
        if os.name == "posix" and file.stat().st_mode & stat.S_IROTH:
            yield f"every user of this machine can read the key in '{file}'; chmod 600 '{file}'"
