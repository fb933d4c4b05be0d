"""A ResNet50's tensors under the names of every training program, and the descriptions of all other networks."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ctonnx_train.network.state_dicts import NoBackbone, find_backbone

SEQUENTIAL = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """The state of a residual network of four blocks, with a classifier."""
    torch.manual_seed(3)
    state: dict[str, Tensor] = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3).state_dict()
    return state


@pytest.fixture(scope="module")
def resnet50() -> dict[str, Tensor]:
    """Names and shapes of a ResNet50, without memory."""
    return meta("resnet50")


def meta(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        state: dict[str, Tensor] = getattr(torchvision.models, name)(weights=None).state_dict()
    return state


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(found[name] is wanted[name] for name in wanted)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "model.",
        "_orig_mod.",
        "encoder.",
        "backbone.",
        "net.",
        "features.",
        "resnet50.",
        "module._orig_mod.model.backbone.",
        "module.encoder_q.",
        "student.backbone.",
        "backbone.body.",
        "anything.0.",
    ],
)
def test_any_prefix_is_found_and_reported(prefix: str, small: dict[str, Tensor]) -> None:
    found = find_backbone({prefix + name: tensor for name, tensor in small.items()}, trunk(small))
    assert same(found.tensors, trunk(small))
    assert found.prefix == prefix
    assert found.place == (f"after the prefix '{prefix}'" if prefix else "")


@pytest.mark.parametrize("key", ["state_dict", "model", "ema", "model_state", "teacher", "weights", "a"])
def test_dictionary_in_another_is_found_by_any_key(key: str, small: dict[str, Tensor]) -> None:
    found = find_backbone({"epoch": 3, key: small, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, trunk(small))
    assert (found.key, found.place, found.others) == (key, f"in '{key}'", ())
    assert find_backbone({"checkpoint": {key: {"x.": 1, **small}}}, trunk(small)).key == f"checkpoint.{key}"


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.encoder."])
def test_names_of_a_sequential_as_in_radimagenet_are_known(prefix: str, small: dict[str, Tensor]) -> None:
    state = {f"{prefix}{SEQUENTIAL[name.split('.')[0]]}.{name.partition('.')[2]}": small[name] for name in trunk(small)}
    found = find_backbone(state | {"classifier.weight": torch.ones(1)}, trunk(small))
    assert same(found.tensors, trunk(small))
    assert found.prefix == prefix


def test_names_of_transformers_are_known() -> None:
    torch.manual_seed(4)
    wanted = trunk(ResNet(Bottleneck, [2, 1, 1, 1]).state_dict())
    found = find_backbone({f"resnet.{transformers_name(name)}": wanted[name] for name in wanted}, wanted)
    assert same(found.tensors, wanted)
    assert found.prefix == "resnet."


def transformers_name(name: str) -> str:
    """Returns the name in transformers of a tensor of torchvision's ResNet."""
    *parts, value = name.split(".")
    kinds = {"conv": "convolution", "bn": "normalization"}
    if len(parts) == 1:
        return f"embedder.embedder.{kinds[parts[0][:-1]]}.{value}"
    block = f"encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        return f"{block}.shortcut.{list(kinds.values())[int(parts[3])]}.{value}"
    return f"{block}.layer.{int(parts[2][-1]) - 1}.{kinds[parts[2][:-1]]}.{value}"


@pytest.mark.parametrize(
    ("content", "taken", "left"),
    [
        (("student", "teacher"), "in 'teacher'", "in 'student'"),
        (("state_dict", "state_dict_ema"), "in 'state_dict_ema'", "in 'state_dict'"),
        (("momentum_encoder", "encoder"), "in 'encoder'", "in 'momentum_encoder'"),
    ],
)
def test_moving_average_is_preferred_and_the_others_are_named(
    content: tuple[str, str], taken: str, left: str, small: dict[str, Tensor]
) -> None:
    found = find_backbone(dict.fromkeys(content, small), trunk(small))
    assert (found.place, found.others) == (taken, (left,))


def test_query_encoder_of_moco_is_preferred(small: dict[str, Tensor]) -> None:
    state = {f"module.encoder_{which}.{name}": small[name] for which in "kq" for name in small}
    found = find_backbone({"state_dict": state}, trunk(small))
    assert found.place == "in 'state_dict' after the prefix 'module.encoder_q.'"
    assert found.others == ("in 'state_dict' after the prefix 'module.encoder_k.'",)


def test_batch_counters_may_be_missing(small: dict[str, Tensor]) -> None:
    state = {name: tensor for name, tensor in small.items() if not name.endswith("num_batches_tracked")}
    assert find_backbone(state, trunk(small)).tensors.keys() == trunk(small).keys()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("resnet18", "a ResNet18"),
        ("resnet34", "a ResNet34"),
        ("resnet101", "a ResNet101"),
        ("resnet152", "a ResNet152"),
        ("resnext50_32x4d", "a ResNeXt50 (32 groups of 4: layer1.0.conv2.weight [128, 4, 3, 3])"),
        ("wide_resnet50_2", "a Wide ResNet50 (layer1.0.conv2.weight [128, 128, 3, 3])"),
        ("resnext101_32x8d", "a ResNeXt101 (32 groups of 8: layer1.0.conv2.weight [256, 8, 3, 3])"),
        ("vit_b_16", "152 tensors of a vision transformer by other names ('class_token' first)"),
        ("densenet121", "727 tensors by other names ('features.conv0.weight' first)"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}], ids=["bare", "nested"])
def test_another_network_is_named(
    wrap: Callable[[Any], Any], name: str, what: str, resnet50: dict[str, Tensor]
) -> None:
    assert rejection(wrap(meta(name)), resnet50) == what


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"conv1.weight": torch.ones(64, 1, 7, 7)},
            "a ResNet50 with another stem (1 input channel, 7x7: conv1.weight [64, 1, 7, 7])",
        ),
        (
            {"conv1.weight": torch.ones(64, 3, 3, 3)},
            "a ResNet50 with another stem (3 input channels, 3x3: conv1.weight [64, 3, 3, 3])",
        ),
        (
            {"conv1.weight": None, "conv1.0.weight": torch.ones(32, 3, 3, 3)},
            "a ResNet50 with another stem ('conv1.0.weight')",
        ),
        ({"conv1.weight": None}, "a ResNet50 with another stem (none)"),
        (
            {"layer1.0.se.fc1.weight": torch.ones(1)},
            "a ResNet50 with 1 additional tensor ('layer1.0.se.fc1.weight' first)",
        ),
        ({"layer4.2.bn3.weight": None}, "a ResNet50 without 1 tensor ('layer4.2.bn3.weight' first)"),
        (
            {"layer2.0.conv1.weight": torch.ones(1, 2, 1, 1)},
            "a ResNet50 with other shapes ('layer2.0.conv1.weight' [1, 2, 1, 1] first)",
        ),
    ],
)
def test_resnet50_with_missing_or_additional_tensors_is_described(
    changes: dict[str, Tensor | None], what: str, resnet50: dict[str, Tensor]
) -> None:
    changed = {name: tensor for name, tensor in (resnet50 | changes).items() if tensor is not None}
    assert rejection(changed, resnet50) == what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({}, "an empty dictionary"),
        ({"epoch": 3}, "no tensors, but 'epoch'"),
        ({0: torch.zeros(1)}, "no tensors, but '0'"),
        ({"state_dict": torch.zeros(1)}, "1 tensor by other names ('state_dict' first)"),
        ([torch.zeros(1)], "a list instead of a dictionary of tensors"),
        (torch.zeros(1), "a Tensor instead of a dictionary of tensors"),
    ],
)
def test_content_without_a_network_is_described(content: object, what: str, resnet50: dict[str, Tensor]) -> None:
    assert rejection(content, resnet50) == what


def test_values_that_are_not_finite_are_rejected(small: dict[str, Tensor]) -> None:
    broken = small | {"bn1.weight": torch.full((64,), float("nan"))}
    assert rejection(broken, trunk(small)) == "values in it that are not finite (NaN or infinity, 'bn1.weight' first)"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda tensor: tensor.to(torch.int8), "torch.int8"),
        (lambda tensor: tensor.bool(), "torch.bool"),
        (lambda tensor: tensor.to(torch.complex64), "torch.complex64"),
        (lambda tensor: tensor.to_sparse(), "torch.sparse_coo"),
        (lambda tensor: tensor.to("meta"), "on the device 'meta', without values"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "torch.qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # PyTorch warns about quantized tensors, found in older files
def test_tensors_that_are_not_dense_and_floating_point_are_rejected_with_their_type(
    change: Callable[[Tensor], Tensor], what: str, small: dict[str, Tensor]
) -> None:
    broken = small | {"bn1.weight": change(small["bn1.weight"])}
    expected = f"a residual network of [1, 1, 1, 1] blocks with other than dense floating-point tensors ({what}, "
    assert rejection(broken, trunk(small)) == expected + "'bn1.weight' first)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floating_point_tensors_of_every_width_and_integer_counters_are_accepted(
    dtype: torch.dtype, small: dict[str, Tensor]
) -> None:
    state = small | {"bn1.weight": small["bn1.weight"].to(dtype)}
    found = find_backbone(state, trunk(small)).tensors
    assert found["bn1.weight"].dtype == dtype
    assert found["bn1.num_batches_tracked"].dtype == torch.int64


def test_counter_without_values_is_rejected(small: dict[str, Tensor]) -> None:
    broken = small | {"bn1.num_batches_tracked": torch.zeros((), dtype=torch.int64, device="meta")}
    assert "'bn1.num_batches_tracked' first" in rejection(broken, trunk(small))


def rejection(content: object, wanted: dict[str, Tensor]) -> str:
    with pytest.raises(NoBackbone) as caught:
        find_backbone(content, trunk(wanted))
    return str(caught.value)
