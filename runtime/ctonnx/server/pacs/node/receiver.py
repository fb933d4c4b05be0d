"""DICOM server of the node: C-ECHO and C-STORE.

The dataset of an instance is written to the spool as its fragments arrive, and is never decoded here but for three
UIDs of its header. The status `success` is sent when the disk has the instance.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part04/sect_B.2.3.html (statuses of C-STORE)
"""

import ipaddress
import logging
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, dimse_messages, evt
from pynetdicom.presentation import AllStoragePresentationContexts, build_context
from pynetdicom.transport import ThreadedAssociationServer

from ctonnx.errors import CtonnxError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.server.pacs.audit import AuditLog
from ctonnx.server.pacs.node.settings import ReceiverSettings
from ctonnx.server.pacs.node.spool import Instance, Spool, UnusableInstance

__all__ = ["Receiver", "image_classes"]

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_PDU = 128 * 1024  # bytes: the default of 16 KB takes eight times as many system calls
_LARGEST_PDU = 2 * _PDU  # bytes; a request for an association has no agreed length, and up to 128 contexts
_LAST_ANSWER = 10.0  # seconds for the answers at the end of the node
_TIMEOUT = 60  # seconds without a sign of the peer
_SLOWEST = 2048.0  # bytes a second that a message may take beyond these
_PART = 1024**2  # bytes of an instance after which the spool's limit is compared again
_PDU_HEAD = 6  # bytes: type and length
_HANDSHAKE = 10.0  # seconds for the whole handshake of TLS
_VERIFICATION = "1.2.840.10008.1.1"
_IMAGE = " Image Storage"
# The standard's decoders of pydicom and imagecodecs; an instance in another one could not be predicted. Not deflated:
# the header is read only after all of it was inflated, and 262 KB may become 512 MB.
_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL options Lossless
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE Lossless
)


class Receiver:
    """Receives instances in threads of its own, one for each association.

    Args:
        settings: Address, AE titles, TLS and limits.
        spool: Folder for the instances.
        names: Pseudonyms under the site's key.
        audit: Log of associations and instances.
        on_instance: Called, in the association's thread, with each instance that is on the disk.
        on_status: Called with the status of each C-STORE.

    Raises:
        CtonnxError: If the address cannot be used, or the files of TLS cannot be read.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        spool: Spool,
        names: Pseudonyms,
        audit: AuditLog,
        on_instance: Callable[[Instance], object],
        on_status: Callable[[int], object] = lambda status: None,
    ) -> None:
        self._settings, self._spool, self._names, self._audit = settings, spool, names, audit
        self._on_instance, self._on_status = on_instance, on_status
        self._networks = [ipaddress.ip_network(text, strict=False) for text in settings.allowed_addresses]
        _use_chunks(spool)
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = settings.checks_called_title
        entity.require_calling_aet = list(settings.allowed_titles)
        entity.maximum_associations = settings.most_associations
        entity.maximum_pdu_size = _PDU
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = _TIMEOUT
        entity.supported_contexts = [
            build_context(_VERIFICATION),
            *(build_context(uid, list(_SYNTAXES)) for uid in image_classes()),
        ]
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_REQUESTED, self._check_address),
            (evt.EVT_ACCEPTED, self._log_association, ["accepted"]),
            (evt.EVT_REJECTED, self._log_association, ["rejected"]),
            (evt.EVT_RELEASED, self._log_association, ["released"]),
            (evt.EVT_ABORTED, self._log_association, ["aborted"]),
            (evt.EVT_CONN_OPEN, _read_at_once),
            (evt.EVT_CONN_CLOSE, _remove_partial),
        ]
        _check_free(settings.host, settings.port)
        self._server: Any = entity.make_server(
            (settings.host, settings.port),
            ssl_context=_tls(settings),
            evt_handlers=handlers,
            server_class=_Server,
        )
        entity._servers.append(self._server)
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    @property
    def port(self) -> int:
        """Port on which the server listens."""
        return int(self._server.socket.getsockname()[1])

    def close(self) -> None:
        """Ends the server, and the associations: an instance that is being stored is answered first."""
        with suppress(OSError):
            self._server.shutdown()
        associations = self._server.active_associations
        for association in associations:
            association.abort(block=False)
        for association in associations:
            association.join(timeout=_LAST_ANSWER)
        _use_chunks(None)

    def _store(self, event: Any) -> int:
        status, error, found = self._put(event)
        peer = self._peer(event)
        try:
            if found is None:
                self._audit.append("instance rejected", **peer, status=f"{status:04X}", error=error)
            else:
                self._audit.append(
                    "instance", **peer, study=found.study, series=found.series, instance=found.name, bytes=found.size
                )
        except OSError:  # what has no line in the log is not acknowledged
            status = status or OUT_OF_RESOURCES
        self._on_status(status)
        return status

    def _put(self, event: Any) -> tuple[int, str | None, Instance | None]:
        received = Path(event.dataset_path)
        try:
            event.request._dataset_file.close()
            if event.request._dataset_file.error is not None:
                raise event.request._dataset_file.error
            found = self._spool.take(received)
        except UnusableInstance as error:
            return CANNOT_UNDERSTAND, str(error), None
        except OSError as error:
            return OUT_OF_RESOURCES, error.strerror or type(error).__name__, None
        finally:
            with suppress(OSError):
                received.unlink(missing_ok=True)
        self._on_instance(found)
        return SUCCESS, None, found

    def _check_address(self, event: Any) -> None:
        allowed = False
        try:
            allowed = self._is_allowed(_address(event))
        finally:  # pynetdicom ignores an exception, and would accept the association
            if not allowed:
                self._reject(event)

    def _is_allowed(self, text: str) -> bool:
        if not self._networks:
            return True
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _reject(self, event: Any) -> None:
        event.assoc.is_rejected = True  # first of all: it ends the association even if the rest raises
        try:
            with suppress(OSError):  # a full disk
                self._audit.append("association", state="rejected", reason="address", **self._peer(event))
            event.assoc.acse.send_reject(0x01, 0x01, 0x01)  # permanent, by the user, no reason given
        finally:
            event.assoc.kill()

    def _log_association(self, event: Any, state: str) -> None:
        with suppress(OSError):  # a full disk
            self._audit.append("association", state=state, **self._peer(event))

    def _peer(self, event: Any) -> dict[str, str]:
        """Returns the calling AE title and address, and a name of the association."""
        title = str(getattr(event.assoc.requestor, "ae_title", "") or "").strip()
        return {"ae": title, "address": _address(event), "association": f"{id(event.assoc):x}"}


def image_classes() -> list[str]:
    """Returns the UIDs of the storage classes of images."""
    return [
        str(context.abstract_syntax)
        for context in AllStoragePresentationContexts
        if context.abstract_syntax is not None and context.abstract_syntax.name.endswith(_IMAGE)
    ]


def _check_free(host: str, port: int) -> None:
    """Raises CtonnxError if an address cannot be listened on; pynetdicom would leave a socket open."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise CtonnxError(
            f"expected to listen on {host}:{port}, found that it cannot be used ({error.strerror or error}); choose "
            "another --host or --port"
        ) from error


def _remove_partial(event: Any) -> None:
    """Removes the file of an instance whose association ended before its last byte."""
    message = getattr(event.assoc.dimse, "message", None)
    file = getattr(message, "_data_set_file", None)
    if file is not None:
        file.close()
        Path(file.name).unlink(missing_ok=True)


def _address(event: Any) -> str:
    return str(event.assoc.requestor.address or "")


class _Server(ThreadedAssociationServer):
    """Server of pynetdicom whose connections have a timeout, and whose handshakes of TLS do not wait for each other.

    pynetdicom's own waits for a handshake before it accepts the next connection, and for the rest of a message without
    an end: a peer without power would keep its association.
    """

    daemon_threads = True  # those of handshakes, which a closing node does not wait for
    request_queue_size = 128  # with the default of 5, senders that begin at the same moment wait
    _is_closed = False

    def get_request(self) -> tuple[socket.socket, Any]:
        listening: Any = self.socket
        connection, address = listening.accept()
        connection.settimeout(self.ae.network_timeout)
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Begins an association; runs in the connection's own thread."""
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(_HANDSHAKE)
            request.do_handshake()
            request.settimeout(self.ae.network_timeout)
        if self._is_closed:
            raise ConnectionAbortedError
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        self._is_closed = True
        super().shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: the connection is closed, and socketserver would write a traceback."""


def _read_at_once(event: Any) -> None:
    """Makes a connection of pynetdicom read as much as there is, within limits of time and size."""
    connection: Any = event.assoc.dul.socket
    connection.recv = _Reader(event.assoc).read


class _Reader:
    """Reads for pynetdicom, which takes 4 KB at a time, 128 times for a CT slice, and has a time limit for each only.

    A message, or a PDU outside one, has `_TIMEOUT` seconds and one more for each `_SLOWEST` bytes: a peer that sends a
    byte every few seconds would keep its association.
    """

    def __init__(self, association: Any) -> None:
        self._association, self._began, self._bytes = association, 0.0, 0

    def read(self, count: int) -> bytearray:
        """Returns the next bytes; fewer if the peer closed the connection, or broke a limit and is disconnected.

        Raises:
            OSError: If they do not come in time.
        """
        connection = self._association.dul.socket.socket
        if count > _LARGEST_PDU:
            _disconnect(connection)
            return bytearray()
        if self._association.dimse.message is None and count == _PDU_HEAD:
            self._began, self._bytes = time.monotonic(), 0
        received = bytearray(count)
        missing = memoryview(received)
        while missing and connection:
            left = self._began + _TIMEOUT + self._bytes / _SLOWEST - time.monotonic()
            if left <= 0:
                break
            connection.settimeout(min(left, _TIMEOUT))
            if not (added := connection.recv_into(missing)):
                break
            missing = missing[added:]
            self._bytes += added
        if missing:
            _disconnect(connection)
            return received[: count - len(missing)]
        return received


def _disconnect(connection: socket.socket | None) -> None:
    if connection:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _IncomingFile:
    """File of an instance that is being received, as pynetdicom uses it.

    An error, such as a full disk, is kept for the answer to the C-STORE; raised at once, it would end the association
    without one.
    """

    def __init__(self, spool: Spool) -> None:
        self.error: OSError | None = None
        self._spool, self._unchecked = spool, _PART
        self.name = str(spool.incoming / "none")
        self.file = self
        try:
            self._handle, self.name = tempfile.mkstemp(dir=spool.incoming, suffix=".dcm")
        except OSError as error:
            self._handle, self.error = -1, error

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._unchecked += len(data)
                if self._unchecked > _PART:
                    self._spool.require_space()
                    self._unchecked = 0
                self._append(memoryview(data))
            except OSError as error:
                self.error = error
                os.ftruncate(self._handle, 0)  # the space is needed for the answer's own files
        return len(data)

    def _append(self, rest: memoryview) -> None:
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _use_chunks(spool: Spool | None) -> None:
    """Makes pynetdicom write datasets to a spool as they arrive, so that memory does not depend on their size.

    It has no setting for the folder; None restores what it does otherwise.
    """
    _config.STORE_RECV_CHUNKED_DATASET = spool is not None
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # its messages may quote a dataset
    made: Any = tempfile.NamedTemporaryFile if spool is None else lambda **options: _IncomingFile(spool)
    dimse_messages.NamedTemporaryFile = made  # type: ignore[attr-defined]


def _tls(settings: ReceiverSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.tls_authorities is not None:
            context.load_verify_locations(settings.tls_authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise CtonnxError(
            f"expected a certificate and its key in PEM format for TLS, found files that cannot be used ({error})"
        ) from error
    return context
