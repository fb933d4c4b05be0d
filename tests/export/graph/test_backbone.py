"""The backbone ends with the last convolution."""

import onnx

from ctonnx_export.graph.backbone import backbone


def test_backbone_ends_with_the_last_convolution(small_model: onnx.ModelProto) -> None:
    names = [node.name for node in backbone(small_model)]
    assert names[0] == "node_stem"
    assert names[-1] == "node_b2"
    assert "node_b.sum" not in names
    assert "node_logits" not in names
