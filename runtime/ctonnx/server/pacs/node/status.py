"""State of a node's folder: its queue and spool, read by another process than the node itself."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.node.outbox import FILE_NAME, Outbox

__all__ = ["node_status", "opened_outbox", "status_lines"]

_SHOWN = 20


def opened_outbox(folder: Path) -> Outbox:
    """Opens the queue of a node.

    Raises:
        CtonnxError: If the folder has none.
    """
    if not (folder / FILE_NAME).is_file():
        raise CtonnxError(
            f"expected the folder of a node, found no queue in '{folder}'; name it with --folder, or start it first: "
            "ctonnx node"
        )
    return Outbox(folder)


def node_status(folder: Path) -> dict[str, Any]:
    """Returns the numbers of a node's series and results, and the first results that are not sent, JSON-ready."""
    with closing(opened_outbox(folder)) as outbox:
        counts, unsent = outbox.counts(), outbox.unsent(_SHOWN)
    instances = [file for file in (folder / "series").glob("*/*.dcm") if file.is_file()]
    sizes = [file.stat().st_size for file in instances]
    return {
        "folder": str(folder),
        "series": {"predicted": counts.predicted, "left_out": counts.left_out, "failed": counts.failed},
        "results": {"queued": counts.queued, "sent": counts.sent, "dead": counts.dead},
        "spool": {"series": len({file.parent for file in instances}), "instances": len(sizes), "bytes": sum(sizes)},
        "unsent": unsent,
    }


def status_lines(status: dict[str, Any]) -> Sequence[str]:
    """Returns the status as lines for a terminal."""
    series, results, spool = status["series"], status["results"], status["spool"]
    lines = [
        f"series:   {series['predicted']} predicted, {series['left_out']} left out, {series['failed']} failed",
        f"results:  {results['sent']} sent, {results['queued']} queued, {results['dead']} dead",
        f"spool:    {spool['instances']} instances of {spool['series']} series, {spool['bytes'] / 1e6:.1f} MB",
    ]
    lines += [
        f"{one['state']:7} {one['kind']} {one['uid']} to {one['destination']}: "
        f"{one['attempts']} attempts; {one['error'] or 'not tried yet'}"
        for one in status["unsent"]
    ]
    if results["dead"]:
        lines.append("send the dead ones again: ctonnx node retry")
    return lines
