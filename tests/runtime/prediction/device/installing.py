"""Providers that seem to be installed, with their speed and their faults; all compute on the CPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.inference.session import open_session
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction.device import candidates, fastest_provider
from ctonnx.prediction.predictor import Predictor

__all__ = ["Machine"]


class Machine:
    """Providers of a simulated machine, on a clock that only their work moves.

    Attributes:
        seconds: Seconds for an image, by provider.
        start_errors: Errors of providers that do not start.
        batch_errors: Errors of providers that start and fail with many images.
        images: Number of images that each provider has computed in measurements.
        open: Providers of the sessions that are open.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.seconds: dict[str, float] = seconds
        self.start_errors: dict[str, CtonnxError] = {}
        self.batch_errors: dict[str, CtonnxError] = {}
        self.images: dict[str, int] = {}
        self.settings: list[tuple[int, bool]] = []
        self.now = 0.0
        monkeypatch.setattr(candidates, "installed_providers", lambda: dict.fromkeys(self.seconds))
        monkeypatch.setattr(predictor_module, "open_session", self._start)
        monkeypatch.setattr(fastest_provider, "_seconds", self._measure)
        monkeypatch.setattr(fastest_provider, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _start(self, path: Path, *, provider: str, **options: Any) -> Any:
        if provider in self.start_errors:
            raise self.start_errors[provider]
        return open_session(path, **options)

    def _measure(self, predictor: Predictor, count: int) -> float:
        provider = predictor.provider
        if provider in self.batch_errors:
            raise self.batch_errors[provider]
        self.settings.append((predictor.workers, predictor.spinning))
        self.images[provider] = self.images.get(provider, 0) + count
        self.now += count * self.seconds[provider]
        return count * self.seconds[provider]
