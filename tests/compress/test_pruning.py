"""Structured pruning: the channels that are removed, their number, and the layers that keep their sizes."""

import pytest
import torch
from torch import Tensor

from ctonnx_compress.operations import count_operations
from ctonnx_compress.pruning import BLOCK, least_operations, prune, widths
from ctonnx_train.network.classifier import CTClassifier

SIZE = 64
UNUSED = list(range(5, 5 + 2 * BLOCK))


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [
        (torch.rand(2, 1, SIZE, SIZE, generator=random) * 255, torch.randint(0, 3, (2,), generator=random))
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def pruned(batches: list[tuple[Tensor, Tensor]]) -> tuple[CTClassifier, CTClassifier]:
    """ResNet50 in which nothing reads some channels of a layer, before and after its pruning to a half."""
    torch.manual_seed(0)
    before, after = CTClassifier(3), CTClassifier(3)
    before.backbone.layer3[1].conv2.weight.data[:, UNUSED] = 0
    before.backbone.layer3[1].bn1.weight.data[:] = torch.arange(1, 257)  # marks the channels
    after.load_state_dict(before.state_dict())
    half = count_operations(before, SIZE) // 2
    prune(after, batches, operations=half, size=SIZE, parent=widths(before))
    return before, after


def test_half_of_the_multiplications_is_left_and_not_much_less(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    before, after = pruned
    share = count_operations(after, SIZE) / count_operations(before, SIZE)
    assert 0.48 < share <= 0.5


def test_widths_are_multiples_of_16_and_a_quarter_or_more(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    before, after = (widths(network) for network in pruned)
    assert all(width % 16 == 0 for width in after.values())
    assert all(before[name] / 4 <= width <= before[name] for name, width in after.items())
    assert sum(width < before[name] for name, width in after.items()) > 20


def test_the_first_convolution_and_the_head_keep_their_sizes(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    _, after = pruned
    assert after.backbone.conv1.weight.shape == (64, 3, 7, 7)
    assert after.head.dense1.weight.shape == (512, 2048)
    with torch.no_grad():
        assert after.eval().features(torch.zeros(1, 1, SIZE, SIZE)).shape == (1, 2048, 2, 2)


def test_channels_that_change_no_output_are_removed_first(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    before, after = pruned
    marks = set(after.backbone.layer3[1].bn1.weight.int().tolist())
    assert len(marks) < 256
    assert marks.isdisjoint(number + 1 for number in UNUSED)
    kept = [number - 1 for number in sorted(marks)]
    inputs = before.backbone.layer3[1].conv1.weight
    assert after.backbone.layer3[1].conv1.weight.shape[1] <= inputs.shape[1]
    assert len(kept) == after.backbone.layer3[1].conv1.out_channels


def test_residual_sums_keep_equal_widths(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    found = widths(pruned[1])
    for stage in (1, 2, 3, 4):
        sums = {
            width
            for name, width in found.items()
            if name.startswith(f"backbone.layer{stage}.") and name.endswith(("conv3", "downsample.0"))
        }
        assert len(sums) == 1


def test_the_pruned_network_is_rebuilt_from_its_weights(pruned: tuple[CTClassifier, CTClassifier]) -> None:
    _, after = pruned
    rebuilt = CTClassifier(3)
    rebuilt.fit_widths(after.state_dict())
    rebuilt.load_state_dict(after.state_dict())
    pixels = torch.rand(2, 1, SIZE, SIZE) * 255
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(pixels), after.eval()(pixels))


def test_fewer_multiplications_than_can_be_left_are_rejected(
    pruned: tuple[CTClassifier, CTClassifier], batches: list[tuple[Tensor, Tensor]]
) -> None:
    before, after = pruned
    least = least_operations(before, SIZE)
    assert least < count_operations(after, SIZE)
    with pytest.raises(ValueError, match="multiplications or more to be left"):
        prune(after, batches[:1], operations=least - 1, size=SIZE, parent=widths(before))


def test_without_images_nothing_is_pruned() -> None:
    network = CTClassifier(3)
    with pytest.raises(ValueError, match="expected training images"):
        prune(network, [], operations=1, size=SIZE, parent=widths(network))
    assert widths(network) == widths(CTClassifier(3))
