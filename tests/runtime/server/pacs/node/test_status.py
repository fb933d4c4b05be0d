"""The state of a node's folder."""

from contextlib import closing
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.node.outbox import Outbox
from ctonnx.server.pacs.node.status import node_status, opened_outbox, status_lines


def test_numbers_and_what_is_not_sent(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/3"):
        file = tmp_path / "series" / f"{name}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 500_000)
    with closing(Outbox(tmp_path)) as outbox:
        results = [("1.2", "sr"), ("1.3", "sc"), ("1.4", "sc")]
        outbox.finish("a", "c", 2, decision="positive", results=results, destinations=["A@h:1"])
        outbox.finish("b", "c", 1, decision=None, error="damaged")
        for name in ("c", "d"):
            outbox.finish(name, "c", 1, decision=None)
        first, second, _ = outbox.due(9)
        outbox.mark_sent(first)
        outbox.mark_failed(second, "it answered with status C000", wait=None)
    found = node_status(tmp_path)
    assert found["series"] == {"predicted": 1, "left_out": 2, "failed": 1}
    assert found["results"] == {"queued": 1, "sent": 1, "dead": 1}
    assert found["spool"] == {"series": 2, "instances": 3, "bytes": 1_500_000}
    assert status_lines(found) == [
        "series:   1 predicted, 2 left out, 1 failed",
        "results:  1 sent, 1 queued, 1 dead",
        "spool:    3 instances of 2 series, 1.5 MB",
        "dead    sc 1.3 to A@h:1: 1 attempts; it answered with status C000",
        "queued  sc 1.4 to A@h:1: 0 attempts; not tried yet",
        "send the dead ones again: ctonnx node retry",
    ]


def test_folder_of_no_node_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(CtonnxError, match="expected the folder of a node, found no queue in"):
        opened_outbox(tmp_path)
    assert list(tmp_path.iterdir()) == []
