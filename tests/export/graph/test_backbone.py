"""The backbone ends with the last convolution, of an ensemble with that of each network."""

import onnx
from tests.export.conftest import make_small_ensemble

from ctonnx_export.graph.backbone import backbone


def test_backbone_ends_with_the_last_convolution(small_model: onnx.ModelProto) -> None:
    names = [node.name for node in backbone(small_model)]
    assert names[0] == "node_stem"
    assert names[-1] == "node_b2"
    assert "node_b.sum" not in names
    assert "node_logits" not in names


def test_backbone_of_an_ensemble_ends_with_the_last_convolution_of_each_network(small_model: onnx.ModelProto) -> None:
    names = [node.name for node in backbone(make_small_ensemble())]
    one = [node.name for node in backbone(small_model)]
    assert sorted(names) == sorted([f"{name}.{number}" for name in one for number in (0, 1)])
