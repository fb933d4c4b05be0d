"""`ctonnx node`: a DICOM node that predicts the series it receives and sends the results on."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from ctonnx.cli.model_banner import chosen_provider, show_model
from ctonnx.cli.options import (
    FiniteRange,
    automatic_provider_option,
    codes_option,
    fallback_option,
    model_option,
    opened_usage_log,
    results_option,
    threads_option,
    trust_option,
    usage_log_option,
)

if TYPE_CHECKING:
    from ctonnx.inference.providers import Provider
    from ctonnx.server.pacs.node.sender import Destination
    from ctonnx.server.pacs.results.document import ObjectKind

__all__ = ["audit", "node", "retry", "status"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_GB, _HOUR = 10**9, 3600.0
_ARENAS = 2  # python -m ctonnx_bench.experiments.serving.pacs_node --long 5000: 310 MB, and 335 MB without it


def _folder_option(command: _Command) -> _Command:
    return click.option(
        "--folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("ctonnx-node"),
        show_default=True,
        help="Folder of the node: received instances, queue, audit log and site key. Only its owner can read it.",
    )(command)


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@model_option
@trust_option
@automatic_provider_option
@fallback_option
@threads_option
@_folder_option
@click.option("--ae-title", default="CTONNX", help="Application Entity title of this node.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=11112, help="Port of the DICOM server; 0 takes a free one."
)
@click.option(
    "--allow-ae", multiple=True, metavar="TITLE", help="Calling AE title that may send; repeat it. Default: any."
)
@click.option(
    "--allow-address",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network, such as 10.1.0.0/16, that may connect; repeat it. Default: any.",
)
@click.option("--tls-cert", type=_FILE, help="Certificate in PEM format: the server takes TLS only.")
@click.option("--tls-key", type=_FILE, help="Key of --tls-cert.")
@click.option("--tls-ca", type=_FILE, help="Authorities whose certificates senders must have.")
@click.option(
    "--settle",
    type=FiniteRange(0.1, 3600),
    default=5.0,
    help="Seconds without a new instance after which a series is complete.",
)
@results_option
@codes_option
@click.option(
    "--send-to", multiple=True, metavar="AE@HOST:PORT", help="DICOM node that results are sent to; repeat it."
)
@click.option("--stow", metavar="URL", help="DICOMweb service that results are sent to, as http://pacs:8042/dicom-web.")
@click.option("--stow-token", type=_FILE, help="File with the bearer token of --stow; it is read for each request.")
@click.option(
    "--max-spool",
    type=FiniteRange(0.001),
    default=20.0,
    metavar="GB",
    help="Maximum size of received instances and of results that are not sent.",
)
@click.option(
    "--keep",
    type=FiniteRange(0.01),
    default=24.0,
    metavar="HOURS",
    help="Time for which instances are kept after their series was predicted.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve a page of the queue, /healthz and /metrics there; needs the extra serve.",
)
@usage_log_option
@click.pass_context
def node(
    ctx: click.Context,
    model: Path | None,
    trust: tuple[Path, ...],
    provider: "Provider | Literal['auto']",
    fallback: bool,
    threads: int | None,
    folder: Path,
    ae_title: str,
    host: str,
    port: int,
    allow_ae: tuple[str, ...],
    allow_address: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    settle: float,
    results: "tuple[ObjectKind, ...] | None",
    codes: Path | None,
    send_to: tuple[str, ...],
    stow: str | None,
    stow_token: Path | None,
    max_spool: float,
    keep: float,
    http: str | None,
    usage_log: Path | None,
) -> None:
    """Run a DICOM node: series in, structured reports out.

    Listens for C-STORE, writes instances to its folder, predicts a series when it is complete, and sends a structured
    report (SR) and a Secondary Capture (SC) to a PACS. What was received is never lost: after a crash, it goes on where
    it was. The log, the page and the audit log have nothing of a patient. Ctrl-C ends it.

    \b
    Examples:
      ctonnx node --send-to ORTHANC@127.0.0.1:4242
      ctonnx node --model lungs-model --trust maker.pub --send-to ORTHANC@127.0.0.1:4242
      ctonnx node --provider auto --send-to ORTHANC@127.0.0.1:4242
      ctonnx node --host 0.0.0.0 --allow-ae CT1 --allow-address 10.1.0.0/16 --stow http://pacs:8042/dicom-web
      ctonnx node status
      ctonnx node retry
      ctonnx node audit --verify
    """
    if ctx.invoked_subcommand is not None:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:  # they would have no effect
            option = f"--{given[0].replace('_', '-')}"
            raise click.UsageError(f"expected {option} after '{ctx.invoked_subcommand}', found it before")
        return
    _require_packages(with_page=http is not None)
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.streaming import workers_for
    from ctonnx.server.pacs.node.node import Node
    from ctonnx.server.pacs.node.settings import NodeSettings, ReceiverSettings
    from ctonnx.server.pacs.node.worker import required_rule
    from ctonnx.server.pacs.results.codes import ClassCodes
    from ctonnx.server.pacs.results.document import ResultModel
    from ctonnx.system.memory import return_freed_memory

    log = partial(click.echo, err=True)
    kinds = ("sr", "sc") if results is None else results
    destinations = _destinations(send_to, stow, stow_token, ae_title)
    if kinds and not destinations:
        raise click.UsageError("expected --send-to or --stow, where results are sent, or --results none, found neither")
    try:
        settings = NodeSettings(
            folder=folder,
            receiver=ReceiverSettings(
                host=host,
                port=port,
                ae_title=ae_title,
                allowed_titles=allow_ae,
                allowed_addresses=allow_address,
                tls_certificate=tls_cert,
                tls_key=tls_key,
                tls_authorities=tls_ca,
            ),
            settle=settle,
            spool_limit=int(max_spool * _GB),
            keep=keep * _HOUR,
            kinds=kinds,
        )
        page = _address(http) if http is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return_freed_memory(arenas=_ARENAS)
    provider = chosen_provider(provider, model, threads, spinning=False, trust=trust)
    # As for many files: a series has many, and threads that wait for each other would take the time of the receiver's.
    workers = workers_for(sys.maxsize, threads=threads)
    predictor = Predictor(
        model,
        provider=provider,
        fallback=fallback,
        threads=threads,
        workers=workers,
        spinning=False,
        trust=trust,
    )
    show_model(predictor, newest=model is None)
    spec = predictor.spec
    table = ClassCodes() if codes is None else ClassCodes.read(codes, spec.classes)
    rule = required_rule(predictor)
    described = ResultModel(spec=spec, rule=rule, sha256=predictor.sha256, codes=table)
    with ExitStack() as stack:
        usage = None if usage_log is None else stack.enter_context(opened_usage_log(usage_log, predictor.sha256))
        running = stack.enter_context(Node(predictor, described, settings, destinations, log, usage=usage))
        places = ", ".join(destination.name for destination in destinations) or "none"
        log(f"{ae_title} listens on {host}:{running.port}; results to: {places}")
        if page is not None:
            from ctonnx.server.pacs.node.page import serving

            log(f"page: http://{page[0]}:{stack.enter_context(serving(running, *page))}")
        running.run()


@node.command()
@_folder_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def status(folder: Path, *, as_json: bool) -> None:
    """Show the queue of a node: what was predicted, sent, and not sent.

    \b
    Example:
      ctonnx node status --folder /var/lib/ctonnx
    """
    _require_packages()
    from ctonnx.server.pacs.node.status import node_status, status_lines

    found = node_status(folder)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(status_lines(found)))


@node.command()
@_folder_option
def retry(folder: Path) -> None:
    """Queue the results again that a PACS rejected for good.

    \b
    Example:
      ctonnx node retry --folder /var/lib/ctonnx
    """
    _require_packages()
    from contextlib import closing

    from ctonnx.server.pacs.node.status import opened_outbox
    from ctonnx.system.text import counted

    with closing(opened_outbox(folder)) as outbox:
        click.echo(f"{counted(outbox.retry(), 'result')} queued again")


@node.command()
@_folder_option
@click.option(
    "--verify", is_flag=True, help="Compare the hash chain: the exit code is 1 if a line was changed or removed."
)
def audit(folder: Path, *, verify: bool) -> None:
    """Print a node's audit log, or verify it.

    \b
    Example:
      ctonnx node audit --verify --folder /var/lib/ctonnx
    """
    _require_packages()
    from ctonnx.errors import CheckFailed
    from ctonnx.server.pacs.audit import audit_lines, read_site_key, recovered_lines, verify_audit

    if not verify:
        for line in audit_lines(folder):
            click.echo(line)
        return
    found = verify_audit(folder, read_site_key(folder))
    for number, lost in recovered_lines(folder):
        missing = "an unknown number of lines" if lost is None else f"{lost} complete lines"
        click.echo(f"note: line {number} records that a start found {missing} missing before it", err=True)
    if found.fault is not None:
        raise CheckFailed(f"the audit log in '{folder}' is not complete: {found.fault}")
    click.echo(f"{found.lines} lines, none was changed or removed")


def _require_packages(*, with_page: bool = False) -> None:
    for package in ("pynetdicom", "highdicom"):
        if find_spec(package) is None:  # the group's sentence names the extra
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    if with_page and find_spec("starlette") is None:
        from ctonnx.errors import CtonnxError

        raise CtonnxError('expected starlette for the page of --http, found none; pip install "ctonnx[serve]"')


def _destinations(send_to: tuple[str, ...], stow: str | None, token: Path | None, ae_title: str) -> "list[Destination]":
    from ctonnx.server.pacs.node.sender import DicomDestination, WebDestination
    from ctonnx.server.pacs.node.settings import DicomPeer

    found: list[Destination] = []
    try:
        found += [DicomDestination(DicomPeer.parse(text), ae_title) for text in send_to]
    except ValueError as error:
        raise click.UsageError(f"{error} for --send-to") from error
    if token is not None and stow is None:
        raise click.UsageError("expected --stow with --stow-token, found none")
    if stow is not None:

        def headers() -> dict[str, str]:
            return {} if token is None else {"Authorization": f"Bearer {token.read_text(encoding='utf-8').strip()}"}

        try:
            found.append(WebDestination(stow.rstrip("/"), headers))
        except ValueError as error:
            raise click.UsageError(f"{error}, for --stow") from error
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT, such as 127.0.0.1:8080, for --http, found '{text}'")
    return host.strip("[]") or "127.0.0.1", int(port)
