"""Retrieval of a study from a DICOMweb server: QIDO-RS and WADO-RS, one image at a time, and nothing is kept."""

import io
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images.dicom.identity import IDENTITY_ELEMENTS, MODALITIES, identity_of
from ctonnx.images.dicom.redaction import redacting
from ctonnx.prediction.results import Failure, Record
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.slices import SliceRecord, record_of
from ctonnx.system.temporary_files import remove_leftovers, temporary_name
from ctonnx.system.text import Log, counted

__all__ = ["RetrievedStudy", "StudyAddress", "retrieved_study"]

_TIMEOUT = (10, 120)  # seconds to connect, and between two parts of an answer
_TRIES, _FIRST_WAIT = 3, 500  # of requests that a busy server turns down; milliseconds
_ANY_SYNTAX = (("application/dicom", "*"),)  # as it is stored: the server must not transcode
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_MOST_LOST = 3  # images in a row without an answer, after which the server is taken as gone

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class StudyAddress:
    """Address of a study, or of one of its series, on a DICOMweb server.

    Attributes:
        url: URL of the service, to which `/studies` is added.
        study: Study Instance UID.
        series: Series Instance UID; None for all CT series.
        token: Bearer token; None without one.
    """

    url: str
    study: str
    series: str | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("expected a URL such as http://pacs:8042/dicom-web, without a name and password")
        for kind, uid in (("study", self.study), ("series", self.series)):
            if uid is not None and not (len(uid) <= _LONGEST_UID and _UID.fullmatch(uid)):
                raise ValueError(f"expected a {kind} as a UID: at most {_LONGEST_UID} digits and dots")
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            raise ValueError("expected a bearer token of one line of ASCII characters")


class _Fault(NamedTuple):
    """Fault of a server: the problem and the advice for a message.

    `is_final` is whether other requests have the same fault, and `is_lost` whether there was no response.
    """

    problem: str
    advice: str
    is_final: bool = False
    is_lost: bool = False


class _Unanswered(CtonnxError):
    """An unexpected answer of the server, or none."""

    def __init__(self, message: str, fault: _Fault) -> None:
        super().__init__(message)
        self.fault = fault


class _Image(NamedTuple):
    series: str
    instance: str
    record: SliceRecord


class RetrievedStudy:
    """CT images of a study; it is a `ctonnx.prediction.output.group_batch.FileSource`.

    Headers are read from the server's metadata. An image is retrieved when it is needed, and removed with its series:
    the folder never has more than the images of one series and a few batches of the next. In rows, an image is named by
    its series and Instance Number.

    Args:
        address: Address of the study.
        folder: Empty folder for the images.
        log: Called with a line about what was found.

    Raises:
        CtonnxError: If the server or the study is not there, or it has no CT images. No message has patient data.
    """

    def __init__(self, address: StudyAddress, folder: Path, log: Log) -> None:
        self._address, self._folder = address, folder
        session = requests.Session()
        session.auth = self._authorize  # as an object: requests would put the values of .netrc into its place
        self._client = DICOMwebClient(url=address.url.rstrip("/"), session=session, timeout=_TIMEOUT)
        self._client.set_http_retry_params(max_attempts=_TRIES, wait_exponential_multiplier=_FIRST_WAIT)
        self._images: dict[str, _Image] = {}
        self._missing: dict[str, str] = {}  # reason of each image that the server did not provide
        self._lost = 0  # images in a row without an answer
        names = Pseudonyms()
        series = self._ct_series(log)
        for uid in series:
            self._list_images(uid, names)
        if not self._images:
            raise CtonnxError(f"expected CT images in {len(series)} CT series, found none")
        log(f"retrieving: {counted(len(self._images), 'CT image')} of {len(series)} series")

    @property
    def files(self) -> Sequence[str]:
        """Paths of all images; a path has no file before `fetch`."""
        return list(self._images)

    def read(self, file: str) -> SliceRecord:
        """Returns the facts of an image, from the server's metadata."""
        return self._images[file].record

    def fetch(self, file: str) -> str:
        """Retrieves an image, in the transfer syntax in which it is stored, and returns its path.

        There is no file if the server does not provide the image; `explained` has the reason.

        Raises:
            CtonnxError: If the server is not there any more, or rejects the token; the message has no patient data.
        """
        try:
            content = self._retrieve(self._images[file])
        except _Unanswered as error:
            self._lost = self._lost + 1 if error.fault.is_lost else 0
            if error.fault.is_final or self._lost >= _MOST_LOST:
                raise
            self._missing[file] = f"not retrieved: {error.fault.problem}"
            return file
        self._lost = 0
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_bytes(content.getbuffer())
        return file

    def explained(self, record: Record) -> Record:
        """Returns a record with the reason for which its image was not retrieved, if it is of such an image."""
        reason = self._missing.get(record.source)
        return record if reason is None else Failure(record.source, reason)

    def provided(self, group: Group) -> Group:
        """Returns a group without the images that were not retrieved."""
        return replace(group, files=tuple(one for one in group.files if one.file not in self._missing))

    def shown(self, text: str) -> str:
        """Returns a path, or a text with paths, without the temporary folder: `SERIES/NUMBER.dcm`."""
        return text.replace(f"{self._folder}{os.sep}", "")

    def release(self, group: Group) -> None:
        """Removes the images of a group."""
        for one in group.files:
            Path(one.file).unlink(missing_ok=True)

    def _retrieve(self, image: _Image) -> io.BytesIO:
        """Returns the file of an image, or raises `_Unanswered`."""
        found = self._asked(
            lambda: self._client.retrieve_instance(
                self._address.study, image.series, image.instance, media_types=_ANY_SYNTAX
            ),
            "an image",
        )
        content = io.BytesIO()  # in memory, as `redacting` replaces every exception
        try:
            redacting("", lambda: found.save_as(content, enforce_file_format=True), lambda: "it cannot be written")
        except ImageError as error:
            fault = _Fault(f"a {error.reason}", "ask who runs the server")
            raise _Unanswered(f"expected a DICOM file from {self._place}, found {fault.problem}", fault) from None
        return content

    @property
    def _place(self) -> str:
        return f"'{self._address.url}'"

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._address.token is not None:
            request.headers["Authorization"] = f"Bearer {self._address.token}"
        return request

    def _ct_series(self, log: Log) -> list[str]:
        """Returns the UIDs of the CT series, or of the one that was asked for."""
        found: dict[str, str] = {}
        while True:  # page by page: a server may limit the number of its results
            page = self._search(len(found))
            if not {_value(one, "SeriesInstanceUID") for one in page} - found.keys():
                break
            found |= {_value(one, "SeriesInstanceUID"): _value(one, "Modality") for one in page}
        if not found:
            raise CtonnxError(f"expected the study at {self._place}, found no series; check --study and --dicomweb")
        asked = self._address.series
        if asked is not None and asked not in found:
            raise CtonnxError(f"expected the series in its study, found {len(found)} other series; check --series")
        chosen = found if asked is None else {asked: found[asked]}
        others = Counter(
            modality if modality in MODALITIES else "unknown" for modality in chosen.values() if modality != "CT"
        )
        named = ", ".join(f"{count} {modality}" for modality, count in sorted(others.items()))
        if sum(others.values()) == len(chosen):
            raise CtonnxError(f"expected a CT series, found series of other modalities only ({named})")
        if others:
            log(f"left out: {sum(others.values())} series of other modalities ({named})")
        return [uid for uid, modality in chosen.items() if modality == "CT"]

    def _search(self, offset: int) -> list[dict[str, Any]]:
        return self._asked(
            lambda: self._client.search_for_series(self._address.study, fields=["Modality"], offset=offset or None),
            "the series of a study",
        )

    def _list_images(self, series: str, names: Pseudonyms) -> None:
        metadata = self._asked(  # the client rejects a UID that is none: it is the name of a folder below
            lambda: self._client.retrieve_series_metadata(self._address.study, series), "the metadata of a series"
        )
        for one in metadata:
            header = {tag: one[tag] for tag in _TAGS if tag in one and "BulkDataURI" not in one[tag]}
            identity = identity_of(lambda header=header: Dataset.from_json(header), names.of)  # type: ignore[misc]
            instance = _value(one, "SOPInstanceUID")
            if not instance:
                raise CtonnxError(f"expected a SOPInstanceUID in all metadata from {self._place}, found one without it")
            base = str(self._folder / series / str(identity.instance or 0))
            file, copy = f"{base}.dcm", 1
            while file in self._images:
                copy += 1
                file = f"{base}-{copy}.dcm"
            self._images[file] = _Image(series, instance, record_of(file, identity))

    def _asked(self, ask: Callable[[], _Answer], what: str) -> _Answer:
        """Returns the answer of a server, or raises `_Unanswered`."""
        found: list[_Answer] = []
        faults: list[Exception] = []

        def attempt() -> None:
            try:
                found.append(ask())
            except Exception as error:  # of requests, or of a parser that met anything else than DICOM
                faults.append(error)

        redacting("", attempt, lambda: "")
        if found:
            return found[0]
        fault = _fault_of(faults[0])
        raise _Unanswered(f"expected {what} from {self._place}, found {fault.problem}; {fault.advice}", fault)


@contextmanager
def retrieved_study(address: StudyAddress, log: Log) -> Iterator[RetrievedStudy]:
    """Yields the CT images of a study, in a temporary folder that only its owner can read and that is removed after it.

    A folder of an earlier process that was killed is removed first.

    Raises:
        CtonnxError: If the server or the study is not there, or it has no CT images.
        OSError: If the folder cannot be made.
    """
    base = Path(tempfile.gettempdir())
    remove_leftovers([base], log)
    with temporary_name(base / "ctonnx-study") as folder:
        folder.mkdir(mode=0o700)
        try:
            yield RetrievedStudy(address, folder, log)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _fault_of(error: Exception) -> _Fault:
    """Returns the problem that an exception stands for; its own text may quote anything."""
    response = getattr(error, "response", None)
    if response is None:  # after the last try, the exception of the package retrying has the response
        response = getattr(getattr(error, "last_attempt", None), "value", None)
    status = getattr(response, "status_code", None)
    if status is not None and status >= requests.codes.bad_request:
        advice = {
            requests.codes.unauthorized: "check --token",
            requests.codes.forbidden: "check --token and the rights of its owner",
            requests.codes.not_found: "check --study, --series and --dicomweb",
        }
        is_final = status == requests.codes.unauthorized
        return _Fault(f"HTTP status {status}", advice.get(status, "try again, or ask who runs the server"), is_final)
    if isinstance(error, requests.exceptions.SSLError):
        advice_tls = "name the authority's certificate with the variable REQUESTS_CA_BUNDLE"
        return _Fault("no trusted certificate", advice_tls, is_final=True)
    if isinstance(error, requests.Timeout):
        return _Fault("no answer in time", "check whether the server runs", is_lost=True)
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        is_gone = type(reason).__name__ == "NewConnectionError"  # of urllib3: nothing listens there
        return _Fault("no connection", "check --dicomweb and whether the server runs", is_gone, is_lost=True)
    return _Fault("something else", "check --dicomweb: Orthanc's URL ends in /dicom-web")


def _value(data: Mapping[str, Any], keyword: str) -> str:
    """Returns the first value of an element of the DICOM JSON model as text; empty if it has none."""
    values = data.get(_tag(keyword), {}).get("Value") or [""]
    return str(values[0]).strip()


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


_TAGS = tuple(_tag(keyword) for keyword in IDENTITY_ELEMENTS)
