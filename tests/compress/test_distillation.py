"""Distillation: a loss that is zero for the original's outputs, and the phases of a compression."""

import copy

import pytest
import torch
from tests.conftest import thin_network

from ctonnx_compress.distillation import DistillationTask, phases
from ctonnx_compress.settings import CompressSettings
from ctonnx_train.network.classifier import CTClassifier

PIXELS = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture
def original() -> CTClassifier:
    torch.manual_seed(0)
    with thin_network():
        return CTClassifier(3)


def task_of(network: CTClassifier, original: CTClassifier) -> DistillationTask:
    task = DistillationTask(network, phases(CompressSettings(steps=1, epochs=1), 1.0)[0], original=original)
    task.eval()
    return task


def test_the_original_itself_has_no_loss(original: CTClassifier) -> None:
    loss = task_of(copy.deepcopy(original), original).loss(PIXELS, LABELS)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_other_logits_and_other_features_each_have_a_loss(original: CTClassifier) -> None:
    logits, features = copy.deepcopy(original), copy.deepcopy(original)
    logits.head.dense3.bias.data += torch.tensor([1.0, 0.0, 0.0])
    features.backbone.layer4[0].bn3.bias.data += 0.1
    for changed in (logits, features):
        assert task_of(changed, original).loss(PIXELS, LABELS).item() > 1e-3


def test_labels_have_no_part_in_the_loss(original: CTClassifier) -> None:
    changed = copy.deepcopy(original)
    changed.head.dense3.bias.data += torch.tensor([1.0, 0.0, 0.0])
    task = task_of(changed, original)
    assert torch.equal(task.loss(PIXELS, LABELS), task.loss(PIXELS, LABELS.flip(0)))


def test_the_original_is_not_trained_or_saved_with_the_task(original: CTClassifier) -> None:
    task = task_of(copy.deepcopy(original), original)
    assert set(task.state_dict()) == {f"network.{name}" for name in original.state_dict()}
    task.loss(PIXELS, LABELS).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in original.parameters())
    assert any(parameter.grad is not None for parameter in task.network.parameters())


def test_images_have_their_full_size_and_the_last_step_has_three_quarters_of_the_epochs() -> None:
    found = phases(CompressSettings(steps=3, epochs=12), 0.5)
    assert [(phase.number, phase.epochs, phase.growing, phase.augmentation) for phase in found] == [
        (1, 1, False, 0.5),
        (2, 1, False, 0.5),
        (3, 10, False, 0.5),
    ]
    assert not any(phase.dropout for phase in found)
