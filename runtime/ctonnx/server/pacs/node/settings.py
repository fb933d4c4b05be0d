"""Settings of a DICOM node."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctonnx.server.pacs.results.document import ObjectKind

__all__ = ["AE_TITLE_LENGTH", "DicomPeer", "NodeSettings", "ReceiverSettings"]

AE_TITLE_LENGTH = 16
_PEER = re.compile(r"(?P<title>[^@\\]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]@\s]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class ReceiverSettings:
    """Settings of the DICOM server.

    Attributes:
        host: Address to listen on.
        port: Port; 0 chooses a free one.
        ae_title: Application Entity title, 1 to 16 characters.
        checks_called_title: Whether a peer must call this title.
        allowed_titles: AE titles that may call; empty allows all.
        allowed_addresses: Addresses or networks, such as `10.1.0.0/16`, that may connect; empty allows all.
        most_associations: Maximum number of associations at a time; others are rejected, transiently.
        tls_certificate: Certificate in PEM format; None is without TLS.
        tls_key: Its key.
        tls_authorities: Certificates of the authorities of peers, who must have one then.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "CTONNX"
    checks_called_title: bool = False
    allowed_titles: Collection[str] = ()
    allowed_addresses: Collection[str] = ()
    most_associations: int = 64
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authorities: Path | None = None

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.allowed_titles):
            if not 0 < len(title.strip()) <= AE_TITLE_LENGTH or "\\" in title or not title.isprintable():
                raise ValueError(f"expected an AE title of 1 to {AE_TITLE_LENGTH} characters, found {title!r}")
        for text in self.allowed_addresses:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"expected an address or a network such as 10.1.0.0/16, found {text!r}") from None
        if (self.tls_certificate is None) != (self.tls_key is None) or (
            self.tls_authorities is not None and self.tls_certificate is None
        ):
            raise ValueError("expected a certificate and its key together for TLS")


@dataclass(frozen=True)
class DicomPeer:
    """Another node: AE title, host name or address, and port."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "DicomPeer":
        """Reads `AE@HOST:PORT`, or raises ValueError.

        >>> DicomPeer.parse("PACS@10.1.0.7:104")
        DicomPeer(ae_title='PACS', host='10.1.0.7', port=104)
        """
        found = _PEER.fullmatch(text.strip())
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ValueError(f"expected AE@HOST:PORT, such as PACS@10.1.0.7:104, found {text!r}")
        return cls(found["title"].strip(), found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Settings of a node.

    Attributes:
        folder: Folder of the spool, the queue, the audit log and the site's key; only its owner can read it.
        receiver: Settings of the DICOM server.
        settle: Seconds without a new instance after which a series is complete.
        spool_limit: Maximum size in bytes of the received instances and of the results that are not sent.
        keep: Seconds for which instances and the rows of sent results are kept.
        kinds: Kinds of results.
    """

    folder: Path
    receiver: ReceiverSettings = field(default_factory=ReceiverSettings)
    settle: float = 5.0
    spool_limit: int = 20 * 10**9
    keep: float = 24 * 3600.0
    kinds: "tuple[ObjectKind, ...]" = ("sr", "sc")

    def __post_init__(self) -> None:
        for name in ("settle", "spool_limit", "keep"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} to be above 0, found {getattr(self, name)!r}")
