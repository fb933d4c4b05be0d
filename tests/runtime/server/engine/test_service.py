"""One model for all requests: queue, waiting time, fairness, failures."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.engine.classification import Pictures
from ctonnx.server.engine.service import Service
from ctonnx.server.monitoring.metrics import Metrics
from ctonnx.server.settings import Limits, Settings
from ctonnx.server.transport.errors import RequestError
from ctonnx.server.transport.multipart import Files

PLAIN = Pictures()


def uploaded(contents: list[bytes]) -> Files:
    files = Files()
    files.contents, files.names = contents, [None] * len(contents)
    return files


def reserve(count: int) -> None:
    assert count == 0  # there are no pictures


def serving(
    predictor: Predictor, test: Callable[[Service], Coroutine[Any, Any, None]], settings: Settings | None = None
) -> None:
    async def run() -> None:
        metrics = Metrics(model="m", precision="fp32", provider="cpu", version="1")
        service = Service(predictor, settings or Settings(), metrics)
        try:
            await test(service)
        finally:
            service.close()

    asyncio.run(run())


def test_queue_counts_images_of_all_requests(predictor: Predictor) -> None:
    async def test(service: Service) -> None:
        with service.admitted(3):
            with service.admitted(1):
                with pytest.raises(RequestError, match="too many images are waiting") as error:
                    service.check_queue()
                assert error.value.status == 503
                assert int(error.value.headers["Retry-After"]) >= 1
            service.check_queue()
            with pytest.raises(RequestError), service.admitted(2):
                pass
        with service.admitted(4):
            pass

    serving(predictor, test, Settings(queue=4, limits=Limits(files=4)))


def test_retry_after_is_the_time_of_the_queue(predictor: Predictor) -> None:
    async def test(service: Service) -> None:
        service._on_batch(1, 6.0 * predictor.threads)  # the first batch sets the average
        with service.admitted(4):
            with pytest.raises(RequestError) as error:
                service.check_queue()
            assert error.value.headers["Retry-After"] == "24"

    serving(predictor, test, Settings(queue=4, limits=Limits(files=4)))


def test_large_request_does_not_delay_a_small_one(predictor: Predictor, png: bytes) -> None:
    ends: list[str] = []

    async def test(service: Service) -> None:
        async def ask(name: str, files: int) -> None:
            await service.classify(uploaded([png] * files), PLAIN, reserve)
            ends.append(name)

        large = asyncio.create_task(ask("large", 60))
        await asyncio.sleep(0)
        await ask("small", 1)
        await large

    serving(predictor, test)
    assert ends == ["small", "large"]


def test_rows_of_a_tensor_are_predicted_in_order(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)

    async def test(service: Service) -> None:
        outputs = await service.infer(pixels)
        np.testing.assert_allclose(outputs.logits, predictor.predict_pixels(pixels).logits, atol=1e-5)

    serving(predictor, test)


def test_failure_of_the_model_fails_the_whole_request(
    predictor: Predictor, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(service: Service) -> None:
        def fail(pixels: object) -> None:
            raise RuntimeError("the model broke")

        monkeypatch.setattr(predictor, "predict_pixels", fail)
        for files in ([png], [png, png]):
            with pytest.raises(RuntimeError, match="the model broke"):
                await service.classify(uploaded(files), PLAIN, reserve)
        monkeypatch.undo()
        assert len(await service.classify(uploaded([png]), PLAIN, reserve)) == 1

    serving(predictor, test)


@pytest.mark.parametrize("files", [1, 3])
def test_pictures_of_a_response_reserve_memory(files: int, predictor: Predictor, png: bytes) -> None:
    reserved: list[int] = []

    def fail(count: int) -> None:
        raise RequestError(503, "no memory")

    async def test(service: Service) -> None:
        results = await service.classify(uploaded([png] * files), Pictures(heatmap=True, scan=True), reserved.append)
        assert sum(reserved) == 3 * sum(len(result["heatmap"]) + len(result["scan"]) for result in results)
        with pytest.raises(RequestError, match="no memory"):
            await service.classify(uploaded([png] * files), Pictures(scan=True), fail)

    serving(predictor, test)
