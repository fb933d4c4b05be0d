"""The time of an epoch's steps is that of a GPU, too, without a step that waits for it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ctonnx_train.training.loop.callbacks import EpochLog, History


@pytest.mark.parametrize(("device", "waits"), [("cuda", 1), ("cpu", 0)])
def test_only_the_last_step_of_an_epoch_waits_for_a_gpu(
    device: str, waits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr("torch.cuda.synchronize", waited.append)
    log = EpochLog(History(tmp_path / "metrics.csv", planned=1), lambda line: None)
    module = cast("Any", SimpleNamespace(device=torch.device(device)))
    for is_last in (False, False, True):
        log.on_train_batch_end(cast("Any", SimpleNamespace(is_last_batch=is_last)), module)
    assert waited == [torch.device(device)] * waits
