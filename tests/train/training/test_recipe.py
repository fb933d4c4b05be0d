"""The training recipe: settings, phases and their epochs, image sizes, and weights of rare classes."""

import re
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ctonnx_train.training.recipe import (
    MONITORS,
    Phase,
    TrainSettings,
    class_weights,
    default_batch_size,
    image_size,
    launched_processes,
    plan,
)

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
        monitor="loss",
        imbalance="loss",
        augmentation="acquisition",
        drop_leaks=False,
        group_regex=None,
        cache_gb=8.0,
        full_size=False,
        compile=False,
        devices=1,
        nodes=1,
        tensorboard=False,
        positive=(),
        sensitivity=0.95,
        coverage=0.95,
        aggregate="auto",
        top_k=None,
    )


def test_threads_are_pytorchs_default_or_one_or_more() -> None:
    assert (TrainSettings().threads, TrainSettings(threads=1).threads) == (None, 1)
    with pytest.raises(ValueError, match=r"^expected threads of 1 or more, found 0$"):
        TrainSettings(threads=0)


@pytest.mark.parametrize(("weights", "images"), [("imagenet", 32), ("w.pth", 32), ("none", 24)])
def test_from_scratch_a_step_has_fewer_images(weights: str, images: int) -> None:
    assert default_batch_size(weights) == images


def test_the_best_epoch_can_be_selected_by_the_loss_or_four_metrics() -> None:
    assert MONITORS == ("loss", "accuracy", "balanced_accuracy", "macro_auroc", "macro_f1")


def test_from_none_the_whole_network_learns_at_once_to_the_end_and_without_dropout() -> None:
    assert plan(TrainSettings(weights="none", epochs=7, patience=2)) == (
        Phase(
            number=1,
            name="scratch",
            stages=ALL,
            epochs=7,
            learning_rate=5e-4,
            schedule="one-cycle",
            weight_decay=0.02,
            dropout=False,
            patience=None,
            augmentation=0.5,
            growing=True,
        ),
    )


@pytest.mark.parametrize(
    ("epochs", "sizes"),
    [
        (1, [128]),
        (2, [64, 128]),
        (3, [64, 64, 128]),
        (10, [64] * 7 + [96] + [128] * 2),
        (30, [64] * 20 + [96] * 5 + [128] * 5),
    ],
)
def test_from_none_the_images_grow_over_the_epochs_and_end_in_full(epochs: int, sizes: list[int]) -> None:
    (phase,) = plan(TrainSettings(weights="none", epochs=epochs))
    assert [image_size(128, phase, epoch) for epoch in range(epochs)] == sizes


@pytest.mark.parametrize(("size", "first"), [(32, 32), (33, 32), (64, 32), (96, 48), (128, 64), (512, 256)])
def test_images_of_the_first_epochs_have_half_the_size_in_steps_of_16_from_32_on(size: int, first: int) -> None:
    (phase,) = plan(TrainSettings(weights="none", epochs=30))
    assert image_size(size, phase, 0) == first


@pytest.mark.parametrize("settings", [TrainSettings(), TrainSettings(weights="none", full_size=True)])
def test_from_pretrained_weights_or_where_it_is_asked_for_the_images_keep_their_size(settings: TrainSettings) -> None:
    assert {image_size(224, phase, 0) for phase in plan(settings)} == {224}


@pytest.mark.parametrize("weights", ["imagenet", "backbone.pth"])
def test_from_pretrained_weights_the_head_learns_first_and_layer4_with_it_after(weights: str) -> None:
    assert plan(TrainSettings(weights=weights, epochs=30, patience=4)) == (
        Phase(
            number=1,
            name="head",
            stages=("head",),
            epochs=10,
            learning_rate=1e-4,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=4,
            augmentation=1.0,
            growing=False,
        ),
        Phase(
            number=2,
            name="fine-tune",
            stages=("layer4", "head"),
            epochs=20,
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=4,
            augmentation=1.0,
            growing=False,
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
        ({"cache_gb": -0.5}, "expected cache_gb of 0 or more, found -0.5"),
        ({"devices": 0}, "expected devices of 1 or more, found 0"),
        ({"nodes": 0}, "expected nodes of 1 or more, found 0"),
        ({"precision": "fp8"}, "expected precision to be one of ('auto', 'bf16', 'fp16', 'fp32'), found 'fp8'"),
        (
            {"augmentation": "none"},
            "expected augmentation to be one of ('acquisition', 'standard'), found 'none'",
        ),
        ({"imbalance": "focal"}, "expected imbalance to be one of ('loss', 'sampler', 'none'), found 'focal'"),
        (
            {"monitor": "f2"},
            "expected monitor to be one of ('loss', 'accuracy', 'balanced_accuracy', 'macro_auroc', 'macro_f1'), "
            "found 'f2'",
        ),
        (
            {"unfreeze_from": "head"},
            "expected unfreeze_from to be one of ('stem', 'layer1', 'layer2', 'layer3', 'layer4'), found 'head'",
        ),
        ({"sensitivity": 0.0}, "expected a sensitivity above 0 and up to 1, found 0.0"),
        ({"sensitivity": 1.01}, "expected a sensitivity above 0 and up to 1, found 1.01"),
        ({"coverage": 0.0}, "expected a coverage between 0 and 1, found 0.0"),
        ({"coverage": 1.0}, "expected a coverage between 0 and 1, found 1.0"),
    ],
)
def test_settings_are_checked_when_they_are_made(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainSettings(**setting)


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [0, 0, 0, 1], [2, 1, 0, 2, 2, 2, 1, 2], [0] * 97 + [1] * 3 + [2] * 40 + [3]],
)
def test_class_weights_are_scikit_learns_balanced_ones(labels: list[int]) -> None:
    classes = np.unique(labels)
    expected = compute_class_weight("balanced", classes=classes, y=np.array(labels))
    np.testing.assert_allclose(class_weights(labels, len(classes)), expected, rtol=1e-12)


def test_class_weights_of_all_images_sum_to_the_number_of_images() -> None:
    labels = [0, 0, 0, 0, 0, 1, 2, 2]
    weights = class_weights(labels, 3)
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))
    assert [weights[label] * labels.count(label) for label in range(3)] == pytest.approx([8 / 3] * 3)


def test_a_number_of_slices_is_one_of_top_k_or_auto() -> None:
    assert (TrainSettings(top_k=5).aggregate, TrainSettings(aggregate="top-k", top_k=1).top_k) == ("auto", 1)
    with pytest.raises(
        ValueError, match=r"^expected a top_k of 1 or more for the aggregate 'top-k' or 'auto', found 2 for 'max'$"
    ):
        TrainSettings(aggregate="max", top_k=2)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}, (2, 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "12"}, (4, 3)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (4, 2)),
        ({"SLURM_STEP_ID": "3", "SLURM_JOB_NAME": "train"}, (1, 1)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "interactive"}, None),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "bash"}, None),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, None),  # a batch script's own shell
        ({"WORLD_SIZE": "2"}, None),
    ],
)
def test_the_launched_processes_are_those_of_torchrun_or_slurm(
    variables: dict[str, str], expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_processes() == expected
