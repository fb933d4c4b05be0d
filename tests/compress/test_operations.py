"""Multiplications and weights of a network."""

from ctonnx_compress.operations import Layer, count_operations, layers_of
from ctonnx_train.network.classifier import CTClassifier


def test_resnet50_has_the_multiplications_that_are_published_for_it() -> None:
    """4.09 G at 224 pixels: https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html."""
    network = CTClassifier(4)
    layers = layers_of(network, 224)
    head = sum(layers[part].operations for part in (network.head.dense1, network.head.dense2, network.head.dense3))
    assert head == 2048 * 512 + 512 * 128 + 128 * 4
    published = 4.089e9 - 2048 * 1000  # without its own head
    assert abs(count_operations(network, 224) - head - published) < 0.002e9
    assert layers[network.backbone.conv1] == Layer(112 * 112, 64, 3, 49)
    assert layers[network.backbone.conv1].operations == 112 * 112 * 64 * 3 * 49


def test_counting_leaves_the_network_in_its_mode() -> None:
    network = CTClassifier(2)
    assert network.training
    before = network.backbone.bn1.running_mean.clone()
    count_operations(network, 32)
    assert network.training
    assert (network.backbone.bn1.running_mean == before).all()
