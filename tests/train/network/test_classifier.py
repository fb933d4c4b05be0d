"""The network: inputs and outputs, the tensors in a checkpoint, and frozen stages that do not change."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from ctonnx_train.network.classifier import STAGES, CTClassifier

HEAD = (2048 * 512 + 512) + (512 * 128 + 128) + (128 * 3 + 3)


@pytest.fixture(scope="module")
def network() -> CTClassifier:
    """A network of three classes in evaluation mode. Tests do not change it."""
    torch.manual_seed(0)
    return CTClassifier(3).eval()


@pytest.fixture(scope="module")
def grey() -> Tensor:
    """Two grey images, uint8 [2, 1, 64, 64]."""
    return torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def stage_of(name: str) -> str:
    """Returns the stage that a tensor of the state dictionary belongs to."""
    parts = name.split(".")
    return "head" if parts[0] == "head" else parts[1] if parts[1] in STAGES else "stem"


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96)])
def test_logits_have_one_row_per_image_and_features_a_32nd_of_the_size(
    network: CTClassifier, height: int, width: int
) -> None:
    pixels = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert network(pixels).shape == (2, 3)
    assert network.features(pixels).shape == (2, 2048, height // 32, width // 32)


@torch.inference_mode()
def test_bytes_and_floats_of_the_same_pixels_give_the_same_logits(network: CTClassifier, grey: Tensor) -> None:
    torch.testing.assert_close(network(grey), network(grey.float()), rtol=0, atol=0)


@torch.inference_mode()
def test_one_grey_channel_gives_the_same_logits_as_three_equal_ones(network: CTClassifier, grey: Tensor) -> None:
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)), rtol=0, atol=0)


@torch.inference_mode()
def test_the_order_of_the_colours_matters(network: CTClassifier) -> None:
    red = torch.zeros(1, 3, 64, 64)
    red[:, 0] = 255
    assert not torch.allclose(network.features(red), network.features(red.flip(1)))


def test_the_backbone_is_a_resnet50_without_its_last_layer(network: CTClassifier) -> None:
    whole = resnet50(weights=None)
    expected = {name: tensor.shape for name, tensor in whole.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in network.backbone.state_dict().items()} == expected
    count = sum(parameter.numel() for parameter in network.backbone.parameters())
    assert count == 25_557_032 - (2048 * 1000 + 1000) == 23_508_032


def test_the_head_is_three_dense_layers_with_dropout_between(network: CTClassifier) -> None:
    layers = [
        (layer.in_features, layer.out_features) if isinstance(layer, nn.Linear) else layer.p
        for layer in network.head.children()
        if isinstance(layer, nn.Linear | nn.Dropout)
    ]
    assert layers == [(2048, 512), 0.4, (512, 128), 0.3, (128, 3)]
    assert sum(parameter.numel() for parameter in network.head.parameters()) == HEAD


def test_state_dict_has_no_mean_and_no_standard_deviation(network: CTClassifier) -> None:
    names = network.state_dict().keys()
    assert {name.partition(".")[0] for name in names} == {"backbone", "head"}
    assert {"mean", "std"} <= dict(network.named_buffers()).keys()


def test_every_tensor_of_the_network_belongs_to_a_stage_that_can_be_frozen() -> None:
    torch.manual_seed(0)
    network = CTClassifier(2)
    network.set_trainable(())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    network.set_trainable(STAGES)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("trainable", [("head",), ("layer4", "head"), STAGES])
def test_a_training_step_changes_the_trainable_stages_and_not_a_bit_of_the_others(
    trainable: tuple[str, ...], grey: Tensor
) -> None:
    torch.manual_seed(0)
    network = CTClassifier(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # zero would block the gradient
            nn.init.ones_(module.weight)
    network.set_trainable(trainable)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.eval()
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    nn.functional.cross_entropy(network(grey), torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if stage_of(name) in trainable}


def test_frozen_stages_stay_in_evaluation_mode() -> None:
    network = CTClassifier(2)
    network.set_trainable(("layer4", "head"))
    network.train()
    training = {name for name, module in network.named_modules() if module.training and not list(module.children())}
    assert {stage_of(name) for name in training} >= {"layer4", "head"}
    assert {name for name in training if stage_of(name) not in ("layer4", "head")} <= {
        "backbone.relu",
        "backbone.maxpool",
        "backbone.avgpool",
    }
    network.eval()
    assert not any(module.training for module in network.modules())
    network.set_trainable(STAGES)
    assert not any(module.training for module in network.modules())
    assert all(module.training for module in network.train().modules())


def test_dropout_can_be_off_while_the_head_learns() -> None:
    network = CTClassifier(2)
    network.eval()
    pooled = torch.ones(1, 2048)
    learned = network.head(pooled)
    network.set_trainable(("head",))
    network.train()
    assert not torch.equal(network.head(pooled), learned)
    network.set_trainable(("head",), dropout=False)
    network.train()
    torch.testing.assert_close(network.head(pooled), learned, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    network.set_trainable(("head",))
    assert not torch.equal(network.head(pooled), learned)


def test_backbone_takes_the_widths_of_a_state_dict() -> None:
    """Those of a network from which `ctonnx compress` has removed channels."""
    torch.manual_seed(0)
    network, smaller = CTClassifier(3), CTClassifier(3)
    block = network.backbone.layer2[1]
    state = network.state_dict()
    for name in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
        state[f"backbone.layer2.1.{name}"] = state[f"backbone.layer2.1.{name}"][:48]
    state["backbone.layer2.1.conv2.weight"] = state["backbone.layer2.1.conv2.weight"][:, :48]
    smaller.fit_widths(state)
    smaller.load_state_dict(state)
    changed = smaller.backbone.layer2[1]
    assert (changed.conv1.out_channels, changed.bn1.num_features, changed.conv2.in_channels) == (48, 48, 48)
    block.conv2.weight.data[:, 48:] = 0  # the same network, with channels that nothing reads
    pixels = torch.rand(2, 1, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(smaller.eval()(pixels), network.eval()(pixels), rtol=1e-4, atol=1e-5)


def test_widths_that_do_not_fit_to_each_other_are_rejected() -> None:
    network = CTClassifier(3)
    state = network.state_dict()
    state["backbone.layer2.1.conv1.weight"] = state["backbone.layer2.1.conv1.weight"][:48]
    with pytest.raises(ValueError, match="the widths of the layers do not fit to each other"):
        network.fit_widths(state)
