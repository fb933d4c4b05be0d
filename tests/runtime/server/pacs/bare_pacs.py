"""A destination for tests that merges nothing: it counts every object that it is sent, and can be gone for a while."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

from pydicom import dcmread
from pynetdicom import AE, StoragePresentationContexts, evt
from tests.runtime.server.pacs.orthanc import free_port

__all__ = ["BarePacs"]


class BarePacs:
    """A C-STORE SCP that can be started, broken off and started again on the same port.

    Attributes:
        received: UID, SHA-256 of the dataset's bytes, study and modality of each object, in order, also if it was sent
            before.
        on_object: Called after each object, before its status is sent.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[tuple[str, str, str, str]] = []
        self.on_object: Callable[[], object] = lambda: None
        self._server: Any = None

    @property
    def peer(self) -> str:
        """It as a destination of `ctonnx node`."""
        return f"BARE@127.0.0.1:{self.port}"

    @property
    def uids(self) -> Counter[str]:
        """Number of times that each object was sent."""
        return Counter(uid for uid, *_ in self.received)

    def start(self) -> "BarePacs":
        """Starts it."""
        entity = AE(ae_title="BARE")
        for context in StoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax))
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def break_off(self) -> None:
        """Ends it at once, as SIGKILL would: all connections end without a word."""
        server, self._server = self._server, None
        if server is None:
            return
        connections = [association.dul.socket.socket for association in server.active_associations]
        server.shutdown()
        for connection in connections:
            if connection is not None:
                connection.close()

    def require_same_objects(self) -> None:
        """Checks that what was sent again under a UID has the same bytes."""
        assert len({(uid, sha256) for uid, sha256, *_ in self.received}) == len(self.uids)

    def _store(self, event: Any) -> int:
        content = event.request.DataSet.getvalue()
        found = dcmread(
            io.BytesIO(event.encoded_dataset()),
            specific_tags=["SOPInstanceUID", "StudyInstanceUID", "Modality"],
            stop_before_pixels=True,
        )
        sha256 = hashlib.sha256(content).hexdigest()
        self.received.append((found.SOPInstanceUID, sha256, found.StudyInstanceUID, found.Modality))
        self.on_object()
        return 0
