"""Finds a ResNet50's tensors in the content of a weight file, under the names that training programs use.

| names | origin |
| --- | --- |
| `conv1.weight`, `layer1.0.conv1.weight` | torchvision, timm, after any prefix: `module.`, `backbone.`, `encoder_q.` |
| `0.weight`, `4.0.conv1.weight` | a Sequential of conv1, bn1, relu, maxpool, layer1 to layer4, as in RadImageNet |
| `embedder.embedder.convolution.weight`, `encoder.stages.0.layers.0.layer.0` | transformers |

The dictionary of tensors may be nested in others, such as `state_dict`, `model` or `teacher`. A deeper or wider
network, or one with another stem, has all or many of a ResNet50's names: the error names its architecture.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctonnx.system.text import counted, quoted

__all__ = ["NoBackbone", "StateDict", "find_backbone"]

_DEPTH = 4  # of nested dictionaries
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_ANCHORS = ("layer1.0.conv1.weight", "4.0.conv1.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight")
_BLOCK = re.compile(
    r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:layer\.(\d+)|shortcut)\.(convolution|normalization)\.(\w+)"
)
_STEM = re.compile(r"embedder\.embedder\.(convolution|normalization)\.(\w+)")
_TRUNK = re.compile(r"(conv1|bn1|layer\d+)\.")
_COUNTER = "num_batches_tracked"  # missing in files of older PyTorch releases
_FIRST = ("ema", "teacher")  # moving averages of the weights, which are more accurate
_LAST = ("student", "encoder_k", "target", "momentum")
_KINDS: Mapping[tuple[bool, tuple[int, ...]], str] = {
    (True, (3, 4, 6, 3)): "ResNet50",
    (True, (3, 4, 23, 3)): "ResNet101",
    (True, (3, 8, 36, 3)): "ResNet152",
    (False, (2, 2, 2, 2)): "ResNet18",
    (False, (3, 4, 6, 3)): "ResNet34",
}


class NoBackbone(Exception):
    """The weights are not a ResNet50's; the message names what was found."""


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """A backbone's tensors by torchvision's names, the key of their dictionary, and the prefix of their names in it.

    The key, such as `state_dict`, is empty at the top level. `others` are further places, which are not used.
    """

    tensors: Mapping[str, Tensor]
    key: str
    prefix: str
    others: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The key and the prefix, for a message."""
        return " ".join(
            [f"in '{self.key}'"] * bool(self.key) + [f"after the prefix '{self.prefix}'"] * bool(self.prefix)
        )


def find_backbone(content: object, wanted: Mapping[str, Tensor]) -> StateDict:
    """Returns the tensors of a backbone like `wanted`, a state dict, from the content of a weight file.

    Raises:
        NoBackbone: Tensors are missing, additional, not finite, or of another shape.
    """
    found, reasons = [], []
    for key, state in _dictionaries(content):
        for prefix, trunk in _trunks(state):
            if reason := _fault(trunk, wanted):
                reasons.append(reason)
            else:
                tensors = {name: trunk.get(name, tensor) for name, tensor in wanted.items()}
                found.append(StateDict(tensors=tensors, key=key, prefix=prefix))
    if not found:
        raise NoBackbone(reasons[0] if reasons else _what(content))
    best, *rest = sorted(found, key=lambda candidate: _rank(f"{candidate.key}.{candidate.prefix}"))
    for name, tensor in best.tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise NoBackbone(f"values in it that are not finite (NaN or infinity, '{name}' first)")
    return replace(best, others=tuple(other.place or "without a prefix" for other in rest))


def _dictionaries(content: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the dictionaries of tensors in the content, each with its path of keys, outermost first."""
    if not isinstance(content, Mapping):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield key, tensors
    if depth < _DEPTH:
        for name, value in content.items():
            yield from _dictionaries(value, f"{key}.{name}" if key else str(name), depth + 1)


def _trunks(state: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields each prefix of a residual network's names, with the network's tensors by torchvision's names."""
    for anchor in _ANCHORS:
        for name in state:
            prefix = name.removesuffix(anchor)
            if prefix != name and (not prefix or prefix.endswith((".", "/"))):
                inside = [other for other in state if other.startswith(prefix)]
                renamed = {_torchvision(other.removeprefix(prefix), anchor): state[other] for other in inside}
                yield prefix, {other: tensor for other, tensor in renamed.items() if _TRUNK.match(other)}


def _torchvision(name: str, anchor: str) -> str:
    """Returns torchvision's name of a tensor, following the naming scheme that the anchor belongs to."""
    if anchor == _ANCHORS[0]:
        return name
    if anchor == _ANCHORS[1]:
        number, _, rest = name.partition(".")
        return f"{_SEQUENTIAL[number]}.{rest}" if number in _SEQUENTIAL else f"other.{name}"
    if stem := _STEM.fullmatch(name):
        return f"{'conv1' if stem[1] == 'convolution' else 'bn1'}.{stem[2]}"
    if block := _BLOCK.fullmatch(name):
        stage, number, layer, kind, value = block.groups()
        if layer is None:
            part = f"downsample.{int(kind == 'normalization')}"
        else:
            part = f"{'conv' if kind == 'convolution' else 'bn'}{int(layer) + 1}"
        return f"layer{int(stage) + 1}.{number}.{part}.{value}"
    return f"other.{name}"


def _fault(trunk: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Returns a description of the network found instead of the wanted one, or None if it matches."""
    missing = [name for name in wanted if name not in trunk and not name.endswith(_COUNTER)]
    other = [name for name in wanted if name in trunk and trunk[name].shape != wanted[name].shape]
    extra = [name for name in trunk if name not in wanted]
    kind = _kind(trunk)
    if not (missing or other or extra):
        odd = next((name for name in wanted if name in trunk and not _is_plain(name, trunk[name])), None)
        return odd and f"{kind} with other than dense floating-point tensors ({_type(trunk[odd])}, '{odd}' first)"
    stem = trunk.get("conv1.weight")
    if stem is None:
        convolution = quoted([name for name in extra if name.startswith("conv1.")][:1]) or "none"
        return f"{kind} with another stem ({convolution})"
    if kind != "a ResNet50":
        return kind
    if "conv1.weight" in other:
        channels, size = counted(stem.shape[1], "input channel"), "x".join(map(str, stem.shape[2:]))
        return f"{kind} with another stem ({channels}, {size}: conv1.weight {list(stem.shape)})"
    if extra:
        return f"{kind} with {counted(len(extra), 'additional tensor')} ('{extra[0]}' first)"
    if missing:
        return f"{kind} without {counted(len(missing), 'tensor')} ('{missing[0]}' first)"
    return f"{kind} with other shapes ('{other[0]}' {list(trunk[other[0]].shape)} first)"


def _is_plain(name: str, tensor: Tensor) -> bool:
    """Returns whether a tensor is dense and floating-point; casting other tensors would give wrong predictions."""
    is_dense = tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized
    return is_dense and (tensor.is_floating_point() or (name.endswith(_COUNTER) and not tensor.is_complex()))


def _type(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "on the device 'meta', without values"
    return str(tensor.dtype if tensor.layout is torch.strided else tensor.layout)


def _kind(trunk: Mapping[str, Tensor]) -> str:
    """Returns the name of a residual network's architecture, from its depth, width and groups."""
    numbered = {(layer[1], int(layer[2])) for name in trunk if (layer := re.match(r"layer([1-4])\.(\d+)\.", name))}
    blocks = tuple(sum(layer == number for layer, _ in numbered) for number in "1234")
    name = _KINDS.get(("layer1.0.conv3.weight" in trunk, blocks), f"residual network of {list(blocks)} blocks")
    middle = trunk.get("layer1.0.conv2.weight")
    if middle is None or not name.startswith("ResNet") or "layer1.0.conv3.weight" not in trunk:
        return f"a {name}"
    width, inside = middle.shape[:2]
    depth = name.removeprefix("ResNet")
    if inside != width:
        return f"a ResNeXt{depth} ({width // inside} groups of {inside}: layer1.0.conv2.weight {list(middle.shape)})"
    return f"a Wide ResNet{depth} (layer1.0.conv2.weight {list(middle.shape)})" if width != 64 else f"a {name}"


def _what(content: object) -> str:
    """Returns a description of content without a residual network."""
    states = sorted(_dictionaries(content), key=lambda pair: -len(pair[1]))
    if states:
        names = list(states[0][1])
        of = "of a vision transformer " if any("cls_token" in name or "class_token" in name for name in names) else ""
        return f"{counted(len(names), 'tensor')} {of}by other names ('{names[0]}' first)"
    if isinstance(content, Mapping):
        return f"no tensors, but {quoted(list(content)[:3])}" if content else "an empty dictionary"
    return f"a {type(content).__name__} instead of a dictionary of tensors"


def _rank(place: str) -> int:
    words = re.split(r"[^a-z_]+|_(?=ema)", place.lower())
    if any(word in words for word in _FIRST):
        return 0
    return 2 if any(mark in place.lower() for mark in _LAST) else 1
