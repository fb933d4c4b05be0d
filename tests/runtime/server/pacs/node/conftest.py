"""Fixtures: a model with its description for results, and DICOM servers that close at once."""

import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from tests.runtime.server.pacs.results.made_results import model_of  # after the extra

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.pacs.results.document import ResultModel


@pytest.fixture(scope="session")
def opened(model: Path) -> Iterator[Predictor]:
    """The small model."""
    with Predictor(model, threads=1) as predictor:
        yield predictor


@pytest.fixture(scope="session")
def described(opened: Predictor) -> ResultModel:
    """Its description."""
    return model_of(opened.spec)


@pytest.fixture(scope="module", autouse=True)
def _servers_close_at_once() -> Iterator[None]:
    """Looks 50 times a second, not twice, whether a server must close; each test has one or more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.02,))
        yield
