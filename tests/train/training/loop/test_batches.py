"""Batches of a store's images, and their order in an epoch."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctonnx.images import Preprocessing
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import FolderSource
from ctonnx_train.data.splits import Sample
from ctonnx_train.training.loop.batches import EpochSampler, PixelDataset, batches

DatasetOf = Callable[..., PixelDataset]


def pixels(images: int, channels: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (images, 32, 32, channels), dtype=np.uint8)


def order(sampler: EpochSampler, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_has_images_channels_first_with_their_labels(channels: int, dataset_of: DatasetOf) -> None:
    stored = pixels(4, channels)
    images = dataset_of(stored, [1, 0, 2, 1])
    assert len(images) == 4
    taken, labels = images.__getitems__([2, 0, 2])
    assert (taken.dtype, labels.dtype, labels.tolist()) == (torch.uint8, torch.int64, [2, 1, 2])
    np.testing.assert_array_equal(taken.numpy(), stored[[2, 0, 2]].transpose(0, 3, 1, 2))
    assert taken.is_contiguous()


def test_one_image_is_a_batch_of_one(dataset_of: DatasetOf) -> None:
    stored = pixels(2)
    image, label = dataset_of(stored, [1, 0])[1]
    assert label.tolist() == [0]
    np.testing.assert_array_equal(image.numpy(), stored[[1]].transpose(0, 3, 1, 2))


def test_a_dataset_takes_its_own_rows_of_the_store(images_in: Callable[..., Path], tmp_path: Path) -> None:
    root = images_in(tmp_path, {"a": 3})
    samples = [Sample(f"a/scan {number}.png", 0) for number in range(3)]
    store = PixelStore(FolderSource(root), samples, Preprocessing(size=32))
    images = PixelDataset(store, [2, 0], [5, 6])
    taken, labels = images.__getitems__([0, 1])
    assert labels.tolist() == [5, 6]
    np.testing.assert_array_equal(taken.numpy(), store.take([2, 0]).transpose(0, 3, 1, 2))


def test_changes_of_a_batch_do_not_change_the_store(dataset_of: DatasetOf) -> None:
    images = dataset_of(np.full((2, 32, 32, 1), 7, np.uint8), [0, 1])
    images[0][0].zero_()
    images.__getitems__([0, 1])[0].zero_()
    assert set(images[0][0].flatten().tolist()) == {7}


@pytest.mark.parametrize(("kept", "rows", "in_memory"), [(3, 3, True), (2, 2, True), (2, 3, False), (0, 1, False)])
def test_a_dataset_knows_whether_its_images_are_in_memory(
    kept: int, rows: int, in_memory: bool, images_in: Callable[..., Path], tmp_path: Path
) -> None:
    root = images_in(tmp_path, {"a": 3})
    samples = [Sample(f"a/scan {number}.png", 0) for number in range(3)]
    store = PixelStore(FolderSource(root), samples, Preprocessing(size=32), limit=kept * 32 * 32)
    assert PixelDataset(store, range(rows), [0] * rows).in_memory is in_memory


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_an_epoch_takes_each_image_once(count: int) -> None:
    sampler = EpochSampler(count, seed=0)
    assert len(sampler) == count
    assert sorted(order(sampler)) == list(range(count))


def test_the_order_depends_only_on_the_seed_and_the_epoch() -> None:
    first = order(EpochSampler(50, seed=3), epoch=4)
    torch.manual_seed(99)
    again = EpochSampler(50, seed=3)
    order(again, epoch=1)
    assert order(again, epoch=4) == first
    assert order(again, epoch=4) == first
    assert len({tuple(order(EpochSampler(50, seed=seed), epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_are_dealt_one_order_in_turn_and_get_as_many_images_each(
    world: int, weights: list[float] | None
) -> None:
    alone = order(EpochSampler(7, seed=1, weights=weights), epoch=2)
    shares = [order(EpochSampler(7, seed=1, weights=weights, rank=rank, world=world), 2) for rank in range(world)]
    length = -(-7 // world)
    assert [len(share) for share in shares] == [length] * world
    assert len(EpochSampler(7, seed=1, rank=0, world=world)) == length
    dealt = [share[turn] for turn in range(length) for share in shares]
    assert dealt == (alone + alone)[: length * world]


def test_more_processes_than_images_get_one_each() -> None:
    shares = [order(EpochSampler(2, seed=0, rank=rank, world=4)) for rank in range(4)]
    assert sorted(shares) == [[0], [0], [1], [1]]


def test_images_are_drawn_in_proportion_to_their_weights() -> None:
    # Class weights of 90 and 10 images: with them both classes are drawn alike.
    weights = [100 / (2 * 90)] * 90 + [100 / (2 * 10)] * 10
    sampler = EpochSampler(100, seed=0, weights=weights)
    assert len(sampler) == 100
    drawn = Counter(image >= 90 for epoch in range(40) for image in order(sampler, epoch))
    assert drawn.total() == 4000
    assert 0.46 < drawn[True] / 4000 < 0.54


def test_an_image_without_weight_is_never_drawn() -> None:
    sampler = EpochSampler(4, seed=0, weights=[1.0, 0.0, 1.0, 1.0])
    assert {image for epoch in range(20) for image in order(sampler, epoch)} == {0, 2, 3}


def test_images_in_memory_are_batched_in_the_samplers_order_without_workers(dataset_of: DatasetOf) -> None:
    stored = pixels(5)
    loader = batches(dataset_of(stored, [0, 1, 2, 3, 4]), 2, [4, 2, 0, 1, 3], on_gpu=False, drop_last=False)
    assert (loader.num_workers, loader.pin_memory, loader.persistent_workers) == (0, False, False)
    assert [labels.tolist() for _, labels in loader] == [[4, 2], [0, 1], [3]]
    np.testing.assert_array_equal(next(iter(loader))[0].numpy(), stored[[4, 2]].transpose(0, 3, 1, 2))


def test_a_smaller_last_batch_can_be_left_out(dataset_of: DatasetOf) -> None:
    loader = batches(dataset_of(pixels(5), [0] * 5), 2, range(5), on_gpu=False, drop_last=True)
    assert [len(labels) for _, labels in loader] == [2, 2]


def test_batches_for_a_gpu_are_in_pinned_memory(dataset_of: DatasetOf) -> None:
    assert batches(dataset_of(pixels(2), [0, 1]), 2, range(2), on_gpu=True, drop_last=False).pin_memory


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (64, 4)])
def test_images_that_are_decoded_again_are_read_ahead_by_workers_on_the_cores_there_are(
    cores: int, workers: int, dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    stored = pixels(3)
    images = dataset_of(stored, [0, 1, 2], limit=32 * 32)
    loader = batches(images, 2, range(3), on_gpu=False, drop_last=False)
    assert (loader.num_workers, loader.persistent_workers) == (workers, True)
    assert loader.multiprocessing_context.get_start_method() == "fork"  # which copies none of the images in memory
    np.testing.assert_array_equal(images.__getitems__([2, 0, 1])[0].numpy(), stored[[2, 0, 1]].transpose(0, 3, 1, 2))


def test_without_fork_no_workers_would_copy_the_images_in_memory(
    dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    images = dataset_of(pixels(3), [0, 1, 2], limit=32 * 32)
    loader = batches(images, 2, range(3), on_gpu=False, drop_last=False)
    assert (loader.num_workers, loader.persistent_workers) == (0, False)
    assert [labels.tolist() for _, labels in loader] == [[0, 1], [2]]
