"""The plan of a training: its phases, and how the epochs are shared among them."""

import re
from typing import Any

import pytest

from ctonnx_train.recipe import Phase, TrainSettings, plan

ALL = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


def test_a_user_who_chooses_nothing_gets_thirty_epochs_from_imagenet() -> None:
    assert TrainSettings() == TrainSettings(
        weights="imagenet",
        epochs=30,
        batch_size=32,
        seed=0,
        precision="auto",
        unfreeze_from="layer4",
        patience=6,
    )


def test_from_none_the_whole_network_learns_at_once_to_the_end_and_without_dropout() -> None:
    assert plan(TrainSettings(weights="none", epochs=7, patience=2)) == (
        Phase(
            name="scratch",
            stages=ALL,
            epochs=7,
            learning_rate=1e-3,
            schedule="one-cycle",
            weight_decay=0.02,
            dropout=False,
            patience=None,
        ),
    )


@pytest.mark.parametrize("weights", ["imagenet", "backbone.pth"])
def test_from_pretrained_weights_the_head_learns_first_and_layer4_with_it_after(weights: str) -> None:
    assert plan(TrainSettings(weights=weights, epochs=30, patience=4)) == (
        Phase(
            name="head",
            stages=("head",),
            epochs=10,
            learning_rate=1e-4,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=4,
        ),
        Phase(
            name="fine-tune",
            stages=("layer4", "head"),
            epochs=20,
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=4,
        ),
    )


@pytest.mark.parametrize(
    ("epochs", "phases"),
    [
        (1, [("head", 1)]),
        (2, [("head", 1), ("fine-tune", 1)]),
        (3, [("head", 1), ("fine-tune", 2)]),
        (5, [("head", 1), ("fine-tune", 4)]),
        (6, [("head", 2), ("fine-tune", 4)]),
    ],
)
def test_the_epochs_are_shared_a_third_to_two_thirds(epochs: int, phases: list[tuple[str, int]]) -> None:
    assert [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=epochs))] == phases


def test_one_epoch_from_none_is_one_phase_of_one_epoch() -> None:
    assert [(phase.name, phase.epochs) for phase in plan(TrainSettings(weights="none", epochs=1))] == [("scratch", 1)]


@pytest.mark.parametrize(
    ("first", "stages"),
    [
        ("stem", ALL),
        ("layer1", ("layer1", "layer2", "layer3", "layer4", "head")),
        ("layer2", ("layer2", "layer3", "layer4", "head")),
        ("layer3", ("layer3", "layer4", "head")),
        ("layer4", ("layer4", "head")),
    ],
)
def test_the_second_phase_trains_all_stages_from_the_chosen_one_on(first: str, stages: tuple[str, ...]) -> None:
    head, fine_tune = plan(TrainSettings(unfreeze_from=first))
    assert head.stages == ("head",)
    assert fine_tune.stages == stages


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "expected epochs of 1 or more, found 0"),
        ({"batch_size": 1}, "expected batch_size of 2 or more, found 1"),
        ({"seed": -1}, "expected seed of 0 or more, found -1"),
        ({"patience": 0}, "expected patience of 1 or more, found 0"),
        ({"precision": "fp8"}, "expected precision to be one of ('auto', 'bf16', 'fp32'), found 'fp8'"),
        (
            {"unfreeze_from": "head"},
            "expected unfreeze_from to be one of ('stem', 'layer1', 'layer2', 'layer3', 'layer4'), found 'head'",
        ),
    ],
)
def test_settings_are_checked_when_they_are_made(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainSettings(**setting)
