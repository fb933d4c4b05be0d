"""Queue of the model: a single image does not wait, waiting ones are batched in their order."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.server.conftest import WAIT

from ctonnx.parity.outputs import Outputs
from ctonnx.server.engine.batching import Batcher


class Model:
    """Returns the first value of each image as its outputs; each batch needs a release of `go`."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.error: Exception | None = None

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Outputs:
        values = [int(image[0, 0, 0]) for image in images]
        self.batches.append(values)
        self.begun.release()
        assert self.go.acquire(timeout=WAIT)
        if self.error:
            raise self.error
        column = np.array(values, np.float32)[:, None]
        return Outputs(column, column, column[:, :, None, None])


def image(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


def value(outputs: Outputs) -> int:
    assert len(outputs) == 1
    return int(outputs.logits[0, 0])


async def until(model: Model, count: int = 1) -> None:
    """Waits until the model has begun a number of further batches."""
    for _ in range(count):
        assert await asyncio.to_thread(model.begun.acquire, timeout=WAIT)


@contextmanager
def batching(model: Model, *, runs: int = 1, max_delay: float = 0.0) -> Iterator[Batcher]:
    with ThreadPoolExecutor(runs) as threads:
        others = [lambda images: threads.submit(model, images)] * (runs - 1)
        batcher = Batcher(model, runners=others, max_batch=3, max_delay=max_delay)
        try:
            yield batcher
        finally:
            model.go.release(100)
            batcher.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_single_image_is_run_immediately() -> None:
    async def test() -> None:
        model = Model()
        with batching(model, max_delay=1000.0) as batcher:
            future = batcher.submit(image(7))
            await until(model)
            model.go.release()
            assert value(await future) == 7

    run(test)


def test_waiting_images_are_batched_in_order_up_to_the_maximum() -> None:
    async def test() -> None:
        model = Model()
        with batching(model) as batcher:
            futures = [batcher.submit(image(number)) for number in range(8)]
            model.go.release(100)
            assert [value(outputs) for outputs in await asyncio.gather(*futures)] == list(range(8))
            assert model.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]

    run(test)


def test_several_batches_are_computed_at_a_time() -> None:
    async def test() -> None:
        model = Model()
        with batching(model, runs=2) as batcher:
            futures = [batcher.submit(image(number)) for number in range(4)]
            await until(model, 2)
            assert sorted(model.batches) == [[0], [1]]
            model.go.release(100)
            await asyncio.gather(*futures)
            assert sorted(model.batches)[2:] == [[2, 3]]

    run(test)


def test_partial_batch_waits_at_most_the_maximum_delay() -> None:
    async def test() -> None:
        model = Model()
        with batching(model, runs=2, max_delay=0.05) as batcher:
            futures = [batcher.submit(image(number)) for number in range(3)]
            await until(model)
            assert model.batches == [[0]]
            await until(model)  # after the delay, although the first is still running
            assert model.batches == [[0], [1, 2]]
            model.go.release(100)
            await asyncio.gather(*futures)

    run(test)


def test_full_batch_does_not_wait() -> None:
    async def test() -> None:
        model = Model()
        with batching(model, runs=2, max_delay=1000.0) as batcher:
            futures = [batcher.submit(image(number)) for number in range(4)]
            await until(model, 2)
            model.go.release(100)
            await asyncio.gather(*futures)
            assert sorted(model.batches) == [[0], [1, 2, 3]]

    run(test)


def test_cancelled_image_is_never_run() -> None:
    async def test() -> None:
        model = Model()
        with batching(model) as batcher:
            futures = [batcher.submit(image(number)) for number in range(4)]
            await until(model)
            futures[1].cancel()
            futures[3].cancel()
            model.go.release(100)
            assert value(await futures[2]) == 2
            assert model.batches == [[0], [2]]

    run(test)


def test_cancelled_image_does_not_affect_its_running_batch() -> None:
    async def test() -> None:
        model = Model()
        with batching(model) as batcher:
            futures = [batcher.submit(image(number)) for number in range(3)]
            await until(model)
            model.go.release()
            await until(model)
            futures[1].cancel()
            model.go.release()
            assert value(await futures[2]) == 2

    run(test)


def test_error_of_a_batch_reaches_its_images_only() -> None:
    async def test() -> None:
        model = Model()
        with batching(model) as batcher:
            model.error = RuntimeError("broken")
            first = batcher.submit(image(0))
            model.go.release()
            with pytest.raises(RuntimeError, match="broken"):
                await first
            model.error = None
            model.go.release()
            assert value(await batcher.submit(image(1))) == 1

    run(test)


def test_batches_are_reported_with_their_seconds() -> None:
    async def test() -> None:
        model, reported = Model(), list[tuple[int, float]]()
        model.go.release(100)
        batcher = Batcher(model, max_batch=3, on_batch=lambda images, seconds: reported.append((images, seconds)))
        await asyncio.gather(*[batcher.submit(image(number)) for number in range(4)])
        batcher.close()
        assert [images for images, _ in reported] == [1, 3]
        assert all(seconds > 0 for _, seconds in reported)

    run(test)


def test_single_image_is_run_in_the_thread() -> None:
    async def test() -> None:
        model = Model()
        model.go.release(100)

        def fail(images: object) -> "Future[Outputs]":
            raise AssertionError

        batcher = Batcher(model, runners=[fail], max_batch=3)
        for number in range(5):
            assert value(await batcher.submit(image(number))) == number
        batcher.close()

    run(test)


def test_each_runner_computes_one_batch_at_a_time() -> None:
    async def test() -> None:
        model = Model()
        running: dict[int, Future[Outputs]] = {}

        def start(place: int, images: Sequence[NDArray[np.uint8]]) -> "Future[Outputs]":
            assert place not in running
            running[place] = Future()
            return running[place]

        batcher = Batcher(model, runners=[partial(start, 1), partial(start, 2)], max_batch=1)
        futures = [batcher.submit(image(number)) for number in range(5)]
        await until(model)
        assert sorted(running) == [1, 2]
        column = np.ones((1, 1), np.float32)
        running.pop(2).set_result(Outputs(column, column, column))
        await futures[2]
        assert sorted(running) == [1, 2]  # the idle runner has the next image
        running.pop(1).set_exception(RuntimeError("broken"))
        with pytest.raises(RuntimeError, match="broken"):
            await futures[1]
        assert sorted(running) == [1, 2]
        for place in (1, 2):
            running[place].set_result(Outputs(column, column, column))
        model.go.release(100)
        await asyncio.gather(futures[0], *futures[3:])
        batcher.close()

    run(test)


def test_runner_that_fails_to_start_a_batch_takes_the_next() -> None:
    async def test() -> None:
        model = Model()
        calls = 0

        def full(images: object) -> "Future[Outputs]":
            nonlocal calls
            calls += 1
            raise MemoryError

        batcher = Batcher(model, runners=[full], max_batch=1)
        futures = [batcher.submit(image(number)) for number in range(3)]
        found = await asyncio.gather(*futures[1:], return_exceptions=True)
        assert [type(error) for error in found] == [MemoryError, MemoryError]
        assert calls == 2
        model.go.release(100)
        assert value(await futures[0]) == 0
        batcher.close()

    run(test)


def test_close_waits_for_every_running_batch() -> None:
    async def test() -> None:
        model = Model()
        model.go.release(100)
        other: Future[Outputs] = Future()
        batcher = Batcher(model, runners=[lambda images: other], max_batch=1)
        futures = [batcher.submit(image(number)) for number in range(2)]
        column = np.ones((1, 1), np.float32)
        threading.Timer(0.1, other.set_result, [Outputs(column, column, column)]).start()
        batcher.close()
        assert other.done()
        await asyncio.gather(*futures)

    run(test)


def test_close_cancels_waiting_images_and_ends_the_threads() -> None:
    async def test() -> None:
        model = Model()
        batcher = Batcher(model, max_batch=3)
        first, second = batcher.submit(image(0)), batcher.submit(image(1))
        await until(model)
        model.go.release()
        batcher.close()
        assert second.cancelled()
        assert value(await first) == 0
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ctonnx-model")]

    run(test)
