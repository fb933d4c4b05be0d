"""Sends results to their destinations: C-STORE to a DICOM node, STOW-RS to a DICOMweb server."""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from ctonnx.server.pacs.node.settings import DicomPeer

__all__ = ["Destination", "DicomDestination", "Outcome", "WebDestination", "wait_before_next"]

_TIMEOUT = 30  # seconds
_MAY_RETRY = range(0xA700, 0xA800)  # out of resources
_WARNINGS = (0xB000, 0xB006, 0xB007)  # stored, with elements coerced or discarded
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 600.0  # seconds
_MOST_REJECTIONS = 5
_DUPLICATE = 0x0111  # the destination has the object, whose UID is derived from all that it depends on
_NOT_NOW = frozenset({401, 403, 404, 408, 425, 429})  # a token is renewed, a proxy or a service comes back
_UNREACHED, _UNREADABLE = "it cannot be reached", "its file is not one of DICOM: it was damaged"


class Outcome(NamedTuple):
    """Result of an attempt: None if the destination has the object, else the error.

    `is_rejection` is whether the destination answered that it does not take the object, rather than not at all: it
    will hardly take it later.
    """

    error: str | None = None
    is_rejection: bool = False


class Destination(Protocol):
    """Where results are sent."""

    @property
    def name(self) -> str:
        """Name in the queue."""

    def send(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Sends files in order; yields the outcome of each."""


def wait_before_next(attempts: int, outcome: Outcome, *, rejections: int = 0) -> float | None:
    """Returns the seconds before the next attempt; None if there is none.

    It doubles from 5 seconds to ten minutes. The fifth rejection is final; a destination that does not answer is tried
    until it does.

    Args:
        attempts: Number of failed attempts, this one included.
        outcome: Outcome of this one.
        rejections: Number of rejections, this one included.

    >>> [wait_before_next(number, Outcome("no answer")) for number in (1, 2, 3, 50)]
    [5.0, 10.0, 20.0, 600.0]
    """
    if outcome.is_rejection and rejections >= _MOST_REJECTIONS:
        return None
    return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(attempts - 1, 10)))


@dataclass(frozen=True)
class DicomDestination:
    """A DICOM node that results are sent to by C-STORE."""

    peer: DicomPeer
    own_title: str

    @property
    def name(self) -> str:
        """Name in the queue."""
        return str(self.peer)

    def send(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Sends files over one association; yields the outcome of each."""
        from pynetdicom import AE, _config

        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        metas = [meta for file in files if (meta := _meta(file)) is not None]
        if not metas:
            yield from (Outcome(_UNREADABLE, is_rejection=True) for _ in files)
            return
        entity = AE(ae_title=self.own_title)
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = _TIMEOUT
        entity.connection_timeout = _TIMEOUT
        for sop_class, syntax in dict.fromkeys((m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m in metas):
            entity.add_requested_context(sop_class, syntax)
        association = entity.associate(self.peer.host, self.peer.port, ae_title=self.peer.ae_title)
        if not association.is_established:
            _close_socket(association)
            reason = "it rejected the association" if association.is_rejected else _UNREACHED
            yield from (Outcome(reason) for _ in files)
            return
        try:
            for file in files:
                is_usable = _meta(file) is not None
                yield self._store(association, file) if is_usable else Outcome(_UNREADABLE, is_rejection=True)
        finally:
            with suppress(Exception):
                association.release()

    def _store(self, association: object, file: Path) -> Outcome:
        if not association.is_established:  # type: ignore[attr-defined]
            return Outcome("the association ended")
        try:
            answer = association.send_c_store(file)  # type: ignore[attr-defined]
        except ValueError:  # no presentation context
            return Outcome("it does not accept this kind of object", is_rejection=True)
        except (RuntimeError, AttributeError):
            return Outcome("the association ended")
        status = answer.get("Status")
        if status is None:
            return Outcome("it did not answer")
        if status in (0, _DUPLICATE, *_WARNINGS):
            return Outcome()
        return Outcome(f"it answered with status {status:04X}", is_rejection=status not in _MAY_RETRY)


@dataclass(frozen=True)
class WebDestination:
    """A DICOMweb server that results are sent to by STOW-RS.

    Attributes:
        url: URL of the service, to which `/studies` is added.
        headers: Headers of each request, such as a bearer token's.

    Raises:
        ValueError: If the URL is none of a service, or has a name or a password, which would be in the queue, the log
            and the page. The message does not quote it.
    """

    url: str
    headers: Callable[[], Mapping[str, str]]

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("expected a URL such as http://pacs:8042/dicom-web, without a name and password")
        if parts.query or parts.fragment:
            raise ValueError("expected a URL such as http://pacs:8042/dicom-web, without a query")

    @property
    def name(self) -> str:
        """Name in the queue."""
        return self.url

    def send(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Sends each file with a request of its own; yields the outcome of each."""
        import requests
        from dicomweb_client.api import DICOMwebClient
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        session, is_reached = requests.Session(), True
        session.auth = lambda request: request  # an object: requests would put the values of .netrc into its place
        for file in files:
            if not is_reached:  # each attempt may last until the time limit
                yield Outcome(_UNREACHED)
                continue
            try:
                session.headers.update(self.headers())
                client = DICOMwebClient(url=self.url, session=session, timeout=_TIMEOUT)
                client.set_http_retry_params(retry=False)  # the queue does
                answer = client.store_instances([dcmread(file)])
            except InvalidDicomError:
                yield Outcome(_UNREADABLE, is_rejection=True)
            except requests.HTTPError as error:
                code = error.response.status_code if error.response is not None else 0
                if code == 409 and _has_it_already(error.response):
                    yield Outcome()
                else:
                    is_rejection = 400 <= code < 500 and code not in _NOT_NOW
                    yield Outcome(f"it answered with HTTP status {code}", is_rejection=is_rejection)
            except requests.JSONDecodeError as error:
                yield Outcome(f"it sent an answer that cannot be read ({type(error).__name__})", is_rejection=True)
            except (requests.RequestException, OSError):
                is_reached = False
                yield Outcome(_UNREACHED)
            except Exception as error:  # an answer that is not one of STOW-RS; the library raises any exception
                yield Outcome(f"it sent an answer that cannot be read ({type(error).__name__})", is_rejection=True)
            else:
                yield _outcome_of(answer)


def _close_socket(association: Any) -> None:
    """Closes the socket that pynetdicom leaves open if no association comes about."""
    opened = getattr(association.dul.socket, "socket", None)
    if opened is not None:
        opened.close()


def _outcome_of(answer: Any) -> Outcome:
    """Returns the outcome that an answer of STOW-RS states; that of a login page, which has status 200, is none.

    Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part18/sect_10.5.3.html
    """
    if failed := answer.get("FailedSOPSequence"):
        if all(one.get("FailureReason") == _DUPLICATE for one in failed):
            return Outcome()
        return Outcome("it did not store the object", is_rejection=True)
    if not answer.get("ReferencedSOPSequence"):
        return Outcome("its answer does not name the object as stored", is_rejection=True)
    return Outcome()


def _has_it_already(response: Any) -> bool:
    """Returns whether an answer of STOW-RS with HTTP status 409 has "duplicate SOP instance" as its only reason."""
    from pydicom.dataset import Dataset

    try:
        found = response.json()
        answer = Dataset.from_json(found[0] if isinstance(found, list) else found)
        return bool(answer.get("FailedSOPSequence")) and _outcome_of(answer).error is None
    except Exception:  # a text, or an answer that is not one of STOW-RS
        return False


def _meta(file: Path) -> Any:
    """Returns the File Meta Information of a file; None if it cannot be read."""
    from pydicom import dcmread

    try:
        return dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
    except Exception:  # pydicom raises any exception for a damaged file
        return None
