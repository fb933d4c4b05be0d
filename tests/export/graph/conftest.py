"""A deploy graph with random weights, converted to ONNX once, and pixels for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tests.conftest import once

from ctonnx_export.graph.conversion import convert
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_train.network.classifier import CTClassifier

SIZE = 64


@pytest.fixture(scope="module")
def graph() -> DeployGraph:
    torch.manual_seed(1)
    return DeployGraph(CTClassifier(3))


@pytest.fixture(scope="module")
def converted(graph: DeployGraph, shared_folder: Path) -> onnx.ModelProto:
    with once(shared_folder, "conversion") as missing:
        if missing:
            onnx.save(convert(graph, SIZE), shared_folder / "converted.onnx")
    return onnx.load(shared_folder / "converted.onnx")


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
