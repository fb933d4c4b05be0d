"""One of several processes: which it is, what all of them saw, and whose buffers they take."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import torch
from torch import distributed, nn

from ctonnx_train.training.loop.distributed import gather, is_main_process, share_buffers


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "is_main"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_main_process_is_the_first_of_all_whatever_launched_them(
    variables: dict[str, str], is_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() is is_main


def test_one_process_alone_has_its_own_value_and_keeps_its_buffers() -> None:
    assert gather({"a": [1]}) == [{"a": [1]}]
    module = nn.BatchNorm1d(2)
    module.running_mean = torch.tensor([1.0, 2.0])
    share_buffers(module)
    assert module.running_mean.tolist() == [1.0, 2.0]


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[None]:
    """Makes this process the only one of a group."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("joined")
def test_in_a_group_values_go_through_the_group() -> None:
    value = [torch.ones(2).numpy(), "b"]
    (gathered,) = gather(value)
    assert gathered is not value
    assert gathered[1] == "b"
    assert gathered[0].tolist() == [1.0, 1.0]


SECOND_PROCESS = """\
import sys
from torch import distributed, nn
from ctonnx_train.training.loop.distributed import gather, share_buffers

distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=1, world_size=2)
module = nn.BatchNorm1d(2)
module.running_mean.fill_(6.0)
module.weight.data.fill_(6.0)
share_buffers(module)
print(gather("of 1"), module.running_mean.tolist(), module.weight.tolist())
distributed.destroy_process_group()
"""


def test_two_processes_gather_both_values_in_order_and_share_the_firsts_buffers(tmp_path: Path) -> None:
    file = tmp_path / "group"
    second = Popen([sys.executable, "-c", SECOND_PROCESS, str(file)], stdout=PIPE, stderr=PIPE, text=True)
    try:
        limit = timedelta(seconds=120)
        distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=2, timeout=limit)
        try:
            module = nn.BatchNorm1d(2)
            module.running_mean = torch.tensor([5.0, 5.0])
            share_buffers(module)
            assert gather("of 0") == ["of 0", "of 1"]
        finally:
            distributed.destroy_process_group()
        out, error = second.communicate(timeout=120)
    finally:
        second.kill()
        second.communicate()
    assert module.running_mean.tolist() == [5.0, 5.0]
    assert out == "['of 0', 'of 1'] [5.0, 5.0] [6.0, 6.0]\n", error
