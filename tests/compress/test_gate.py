"""Comparison of a compressed network with its original, and the bounds of the gate."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import thin_network

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.run import Run
from ctonnx.parity.comparison import AccuracyChange
from ctonnx_compress.gate import Comparison, Deployed, compare_with_parent, gate_of
from ctonnx_compress.settings import CompressSettings
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings


@pytest.fixture(scope="module")
def prepared(phantoms: Path, trained_run: Run) -> Prepared:
    with thin_network():
        record = load_checkpoint(trained_run).record
    return prepare(read_data(phantoms), TrainSettings(), record.preprocessing, lambda line: None)


@pytest.fixture
def parent(trained_run: Run) -> Deployed:
    with thin_network():
        checkpoint = load_checkpoint(trained_run)
    point = OperatingPoint(positive=("cavitating",), threshold=0.25, sensitivity=1.0, specificity=0.5)
    record = replace(checkpoint.record, operating_point=point, prediction_sets=None)
    return Deployed(DeployGraph(checkpoint.network, record.temperature, checkpoint.novelty), record)


def test_a_network_agrees_with_itself_on_both_splits(parent: Deployed, prepared: Prepared) -> None:
    found = compare_with_parent(parent, parent, prepared)
    assert set(found) == {"valid", "test"}
    for split, comparison in found.items():
        assert comparison.parity.images == len(prepared.rows[split])
        assert (comparison.parity.agreement, comparison.parity.max_dp) == (1.0, 0.0)
        assert comparison.change is not None
        assert comparison.change.difference == 0
        assert comparison.auroc[0] == comparison.auroc[1]
        assert comparison.decisions is not None
        assert comparison.decisions["opposite"] == comparison.decisions["newly_referred"] == 0
        assert comparison.failures(gate_of(CompressSettings(max_drop=0.0, min_agreement=1.0))) == ()


def test_each_network_decides_by_its_own_operating_point(parent: Deployed, prepared: Prepared) -> None:
    record: Any = parent.decider
    without_novelty = DeployGraph(parent.graph.network, parent.graph.temperature)
    low, high = (
        Deployed(without_novelty, replace(record, operating_point=replace(record.operating_point, threshold=value)))
        for value in (0.0, 1.0)
    )
    found = compare_with_parent(low, high, prepared)["valid"]
    assert found.decisions is not None
    assert found.decisions["opposite"] == found.parity.images
    assert found.parity.agreement == 1.0


def test_without_operating_points_no_decisions_are_compared(parent: Deployed, prepared: Prepared) -> None:
    record: Any = parent.decider
    undecided = Deployed(parent.graph, replace(record, operating_point=None))
    assert compare_with_parent(parent, undecided, prepared)["valid"].decisions is None


def comparison(parent: Deployed, prepared: Prepared, difference: float) -> Comparison:
    change = AccuracyChange(images=72, reference=0.9, candidate=0.9 + difference, difference=difference, low=-1, high=1)
    return replace(compare_with_parent(parent, parent, prepared)["valid"], change=change)


def test_the_measured_loss_of_accuracy_decides(parent: Deployed, prepared: Prepared) -> None:
    gate = gate_of(CompressSettings(max_drop=0.02))
    assert comparison(parent, prepared, -0.02).failures(gate) == ()
    assert comparison(parent, prepared, 0.05).failures(gate) == ()
    (phrase,) = comparison(parent, prepared, -0.0201).failures(gate)
    assert phrase == "accuracy falls by 2.01 points, at most 2 are allowed"


def test_the_document_is_never_rounded_to_look_better(parent: Deployed, prepared: Prepared) -> None:
    found = replace(comparison(parent, prepared, -0.0200001), auroc=(0.98765499, math.nan)).as_dict()
    assert found["accuracy"]["difference"] == -0.02001
    assert found["macro_auroc"] == {"parent": 0.987654, "child": None}
    assert found["parity"]["agreement"] == 1.0


def test_grey_images_are_compared_as_the_predictor_sees_them(parent: Deployed, prepared: Prepared) -> None:
    seen: list[NDArray[np.uint8]] = []
    graph = parent.graph

    class Watching(DeployGraph):
        def forward(self, pixels: Any) -> Any:
            seen.append(pixels.numpy())
            return super().forward(pixels)

    watching = Watching(graph.network, graph.temperature, graph.novelty)
    compare_with_parent(parent, Deployed(watching, parent.decider), prepared)
    assert {images.dtype for images in seen} == {np.dtype(np.uint8)}
    assert {images.shape[1:] for images in seen} == {(64, 64, 3)}
