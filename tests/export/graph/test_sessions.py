"""The sessions of an export compute in the number of threads that was asked for, and PyTorch does too."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.export.conftest import SIZE, make_small_model

from ctonnx.inference.session import open_session
from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx_export.graph import sessions
from ctonnx_export.graph.sessions import computing_threads, open_model


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With what sessions are opened."""
    found: list[dict[str, Any]] = []

    def note(model: bytes, **options: Any) -> Any:
        found.append(options)
        return open_session(model, **options)

    monkeypatch.setattr(sessions, "open_session", note)
    return found


def test_session_runs_and_its_threads_do_not_spin(opened: list[dict[str, Any]]) -> None:
    session = open_model(make_small_model())
    session.run(OUTPUT_NAMES, {"pixels": np.zeros((1, SIZE, SIZE, 3), np.uint8)})
    assert opened == [{"threads": None, "spinning": False}]


def test_threads_apply_to_sessions_and_to_pytorch_within_the_block(opened: list[dict[str, Any]]) -> None:
    before = torch.get_num_threads()
    with computing_threads(2):
        assert torch.get_num_threads() == 2
        open_model(make_small_model())
    open_model(make_small_model())
    assert torch.get_num_threads() == before
    assert [options["threads"] for options in opened] == [2, None]


def test_pytorch_takes_no_more_threads_than_there_are_cores_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        monkeypatch.setattr(sessions, "available_cores", lambda: 2)
        with computing_threads(None):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_invalid_number_of_threads_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^expected at least 1 thread, found 0$"), computing_threads(0):
        pytest.fail("the block was entered")
