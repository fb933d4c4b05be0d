"""Logits of a network for the images of a store: independent of the batch size, in evaluation mode, in row order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.conftest import ImagesIn

from ctonnx.images import Preprocessing
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import predict_logits

CPU = torch.device("cpu")


@pytest.fixture
def network(small_backbone: None) -> CTClassifier:
    torch.manual_seed(0)
    return CTClassifier(3)


@pytest.fixture
def store(tmp_path: Path, images_in: ImagesIn) -> PixelStore:
    root = images_in(tmp_path, {"train/a": 4, "train/b": 3})
    return PixelStore(open_source(root), read_data(root).splits["train"], Preprocessing(size=32))


def test_logits_are_those_of_the_network_for_the_pixels(network: CTClassifier, store: PixelStore) -> None:
    logits = predict_logits(network, store, [4, 0], device=CPU)
    pixels = np.ascontiguousarray(store.take([4, 0]).transpose(0, 3, 1, 2))
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(pixels)).numpy()
    assert logits.dtype == np.float32
    assert logits.shape == (2, 3)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-6)
    assert abs(logits[0] - logits[1]).max() > 1e-4


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_the_batch_size_does_not_matter(batch_size: int, network: CTClassifier, store: PixelStore) -> None:
    whole = predict_logits(network, store, range(7), device=CPU)
    found = predict_logits(network, store, range(7), device=CPU, batch_size=batch_size)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)


def test_network_in_training_mode_is_evaluated_without_dropout_and_keeps_its_statistics(
    network: CTClassifier, store: PixelStore
) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, again = (predict_logits(network, store, range(7), device=CPU) for _ in range(2))
    assert (first == again).all()
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_convolutions_are_computed_in_full_precision_and_the_setting_is_restored(
    network: CTClassifier, store: PixelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    network.register_forward_pre_hook(lambda module, arguments: seen.append(torch.backends.cudnn.allow_tf32))
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    predict_logits(network, store, range(7), device=CPU, batch_size=4)
    assert seen == [False, False]
    assert torch.backends.cudnn.allow_tf32


def test_no_rows_give_no_logits(network: CTClassifier, store: PixelStore) -> None:
    assert predict_logits(network, store, [], device=CPU).shape == (0, 3)
