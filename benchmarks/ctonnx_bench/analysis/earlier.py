"""Reads and validates the bench.json of an earlier benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

from ctonnx.artifacts import json_schema
from ctonnx.errors import CtonnxError
from ctonnx.system.file_reading import read_text, reason_of
from ctonnx_bench.cases.settings import SCHEMA_VERSION

__all__ = ["read_report"]

_LEAST = 1e-9  # smallest valid duration or size
_Some: TypeAlias = Annotated[float, json_schema.Between(_LEAST)]
_Fact: TypeAlias = int | float | str | None
_Any: TypeAlias = Annotated[float, json_schema.Between(0)]


class _Latency(TypedDict):
    p50: _Some
    p90: _Some
    iqr: _Any


class _Figures(TypedDict):
    latency_ms: _Latency
    cold_start_s: _Any | None
    peak_bytes: _Any | None


class _Round(TypedDict):
    cold_start_s: _Any


class _Case(TypedDict):
    name: str
    own: bool
    batch_size: Annotated[int, json_schema.Between(1)]
    figures: _Figures
    failures: Sequence[str]
    doubts: Sequence[str]
    rounds: Sequence[_Round]


class _Settings(TypedDict):
    provider: str
    files: NotRequired[str | None]
    sweep: NotRequired[bool]


class _Environment(TypedDict):
    cpu: str
    features: NotRequired[Sequence[str]]
    cores_allowed: NotRequired[_Fact]
    cpu_limit: NotRequired[_Fact]
    memory_bytes: NotRequired[_Fact]
    gpu: NotRequired[_Fact]
    governor: NotRequired[_Fact]
    python: NotRequired[_Fact]
    versions: NotRequired[Mapping[str, str]]


class _Model(TypedDict):
    precision: str
    sha256: str
    target: NotRequired[str | None]
    checkpoint_sha256: NotRequired[str]


class _Images(TypedDict):
    about: str


class _Report(TypedDict):
    schema_version: int
    created: str
    settings: _Settings
    environment: _Environment
    models: Sequence[_Model]
    checked_on: _Images
    cases: Sequence[_Case]


@dataclass(frozen=True)
class _Versioned:
    tool: Literal["ctonnx bench"]
    schema_version: int


def read_report(file: Path) -> dict[str, Any]:
    """Reads a bench.json.

    Raises:
        CtonnxError: If the file is missing, damaged, something else, or of a newer ctonnx.
    """
    try:
        document = json_schema.parse(read_text(file))
        version = json_schema.read(_Versioned, document).schema_version
        if version <= SCHEMA_VERSION:
            return dict(json_schema.read(_Report, document))
    except (OSError, ValueError) as error:
        raise CtonnxError(
            f"expected the bench.json of an earlier ctonnx bench at '{file}', found {_found(error)}; "
            "make one with: ctonnx bench --output DIR"
        ) from error
    raise CtonnxError(
        f"expected a report of schema {SCHEMA_VERSION} or older, found schema {version} in '{file}', written by a "
        "newer ctonnx; upgrade this one"
    )


def _found(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no file"
    if isinstance(error, OSError):
        return reason_of(error)
    if isinstance(error, JSONDecodeError | UnicodeDecodeError):
        return "a file that is not JSON"
    return f"another document ({error})"
