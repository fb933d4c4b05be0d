"""PyTorch uses the requested number of threads within the block, and its previous number afterwards."""

import os
from collections.abc import Iterator

import pytest
import torch

from ctonnx_train.network import threads
from ctonnx_train.network.threads import computing_threads


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_requested_number_is_set_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with computing_threads(2):
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (2, "2")
    assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "1")


def test_processes_that_training_starts_inherit_the_number_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with computing_threads(None):
        assert "OMP_NUM_THREADS" not in os.environ
    with computing_threads(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (3, 3), (16, 3)])
def test_default_is_limited_to_the_available_cores(cores: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    with computing_threads(None):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 3


def test_number_out_of_range_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^expected at least 1 thread, found 0$"), computing_threads(0):
        pytest.fail("the block was entered")
    assert torch.get_num_threads() == 3
