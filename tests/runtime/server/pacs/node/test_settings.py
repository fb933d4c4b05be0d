"""Settings of a node, and peers as AE@HOST:PORT."""

from pathlib import Path
from typing import Any

import pytest

from ctonnx.server.pacs.node.settings import DicomPeer, NodeSettings, ReceiverSettings


@pytest.mark.parametrize("text", ["PACS@10.1.0.7:104", "A B@pacs.example.org:11112", "P@[::1]:4242"])
def test_a_peer_is_read_and_written_alike(text: str) -> None:
    assert str(DicomPeer.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PACS",
        "PACS@host",
        "@host:104",
        "PACS@host:0",
        "PACS@host:70000",
        "SEVENTEEN_LETTERS@h:1",
        "A@b:c",
        "A@::1:5",
    ],
)
def test_others_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected AE@HOST:PORT"):
        DicomPeer.parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ae_title": ""}, "expected an AE title"),
        ({"ae_title": "SEVENTEEN_LETTERS"}, "expected an AE title"),
        ({"allowed_titles": ["A\\B"]}, "expected an AE title"),
        ({"allowed_addresses": ["10.1.0.300"]}, "expected an address or a network"),
        ({"tls_certificate": Path("a")}, "a certificate and its key together"),
        ({"tls_authorities": Path("a")}, "a certificate and its key together"),
    ],
)
def test_wrong_settings_are_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReceiverSettings(**values)


@pytest.mark.parametrize("name", ["settle", "spool_limit", "keep"])
def test_limits_are_above_zero(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"expected {name} to be above 0"):
        NodeSettings(folder=tmp_path, **{name: 0})  # type: ignore[arg-type]
