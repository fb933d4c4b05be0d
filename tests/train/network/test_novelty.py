"""The distance as a part of the network: the same numbers as its definition, computed on one device."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails

RNG = np.random.default_rng(0)


def arrays() -> dict[str, NDArray[np.float32]]:
    made: dict[str, NDArray[np.float32]] = {}
    for part, width in (("features", 5), ("thumbnail", 64)):
        sizes = {"shift": (width,), "weight": (width, 3), "means": (2, 3)}
        made |= {f"{part}.{name}": RNG.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    return made | {"typical": np.array([40, 120], np.float32)}


def test_novelty_is_the_summed_squared_distance_from_the_nearest_class_in_its_units() -> None:
    given = arrays()
    features = RNG.normal(size=(4, 5)).astype(np.float32)
    for channels in (1, 3):
        pixels = RNG.integers(0, 256, (4, 20, 20, channels), np.uint8)
        total = np.zeros((4, 2))
        for part, values in (("features", features), ("thumbnail", thumbnails(pixels))):
            whitened = (values - given[f"{part}.shift"]) @ given[f"{part}.weight"]
            total += ((whitened[:, None] - given[f"{part}.means"]) ** 2).sum(axis=2)
        found = NoveltyDistance(given, 20)(torch.from_numpy(features), torch.from_numpy(pixels))
        assert (found.dtype, found.shape) == (torch.float32, (4,))
        np.testing.assert_allclose(found.numpy(), (total / given["typical"]).min(axis=1), rtol=1e-5)


def test_arrays_are_the_state_of_the_module() -> None:
    given = arrays()
    state = NoveltyDistance(given, 224).state_dict()
    assert state.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(state[name].numpy(), array)


class HostTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations on another device than the CPU that read a tensor of the CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation."""
        result = func(*args, **(kwargs or {}))
        read = {one.device.type for one in args if isinstance(one, torch.Tensor)}
        if isinstance(result, torch.Tensor) and result.device.type != "cpu" and "cpu" in read:
            self.found.append(str(func))
        return result


@pytest.mark.parametrize("channels", [1, 3])
def test_forward_copies_nothing_from_the_cpu(channels: int) -> None:
    """A CUDA graph cannot be captured with such a copy. The device `meta` computes shapes only."""
    distance = NoveltyDistance(arrays(), 64).to("meta")
    with torch.inference_mode(), HostTensors() as host:
        found = distance(torch.zeros(2, 5, device="meta"), torch.zeros(2, 64, 64, channels, device="meta"))
        assert host.found == []
        torch.zeros(2).to("meta")  # such a copy is noticed
    assert (found.device.type, found.shape) == ("meta", (2,))
    assert len(host.found) == 1
