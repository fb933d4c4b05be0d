"""Batches run with or without pinned memory, and errors of a run are reported like those of the start."""

import ctypes
import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ctonnx.errors import NotEnoughMemory, ProviderError
from ctonnx.inference import diagnosis, runner
from ctonnx.inference.providers import Provider
from ctonnx.inference.runner import Runner, pinned_memory
from ctonnx.inference.session import open_session
from ctonnx.parity.outputs import OUTPUT_NAMES

WAIT = 30.0


def convolution(file: Path) -> Path:
    """Writes a model with the outputs of an export: one convolution with the kernel 0 to 8."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "kernel"], ["heatmap"]),
            helper.make_node("ReduceMean", ["heatmap"], ["logits"], axes=[2, 3], keepdims=0),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "graph",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["batch", 3, 4, 4]),
        ],
        [helper.make_tensor("kernel", TensorProto.FLOAT, [3, 3, 1, 1], [float(number) for number in range(9)])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture
def session(tmp_path: Path) -> onnxruntime.InferenceSession:
    return open_session(convolution(tmp_path / "model.onnx"))


def images(batch: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, 4, 4, 3), np.uint8)


def heatmaps(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the model's heatmaps, computed with NumPy."""
    answers: NDArray[np.float32] = pixels.astype(np.float32) @ np.arange(9, dtype=np.float32).reshape(3, 3).T
    return answers.transpose(0, 3, 1, 2)


# --- batches ---------------------------------------------------------------------------------------------------------


# Memory of the CPU can be bound on a CPU's session, too: this is the path of CUDA but for its copies.
@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_batches_of_any_size_and_layout_are_computed(provider: Provider, session: onnxruntime.InferenceSession) -> None:
    runner = Runner(session, provider)
    for batch in (2, 5, 1, 5):
        pixels = images(batch)
        flipped = pixels[:, :, ::-1]
        for given, same in ((pixels, pixels), (list(pixels), pixels), (flipped, flipped)):
            outputs, expected = runner(given), heatmaps(same)
            np.testing.assert_allclose(outputs.heatmap, expected)
            np.testing.assert_allclose(outputs.logits, expected.mean((2, 3)), rtol=1e-6)
            np.testing.assert_allclose(outputs.probabilities.sum(1), 1, rtol=1e-6)


def test_bound_outputs_are_kept_after_the_next_batch(session: onnxruntime.InferenceSession) -> None:
    runner = Runner(session, "cuda")
    first, second = runner(images(2)), runner(images(3))
    np.testing.assert_allclose(first.heatmap, heatmaps(images(2)))
    np.testing.assert_allclose(second.heatmap, heatmaps(images(3)))


def test_bound_batches_of_several_threads_do_not_mix(session: onnxruntime.InferenceSession) -> None:
    runner = Runner(session, "cuda")
    sizes = [1 + number % 7 for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        for batch, outputs in zip(sizes, pool.map(lambda batch: runner(images(batch)), sizes), strict=True):
            np.testing.assert_allclose(outputs.heatmap, heatmaps(images(batch)))


def test_memory_is_allocated_again_only_for_a_larger_batch(
    session: onnxruntime.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def take(count: int) -> NDArray[np.uint8]:
        taken.append(count)
        return np.empty(count, np.uint8)

    monkeypatch.setattr(runner, "pinned_memory", take)
    run = Runner(session, "cuda")
    for batch in (1, 4, 2, 4, 3):
        run(images(batch))
    assert taken == [48, 192]


# --- the session's own threads ---------------------------------------------------------------------------------------


def test_batches_of_the_sessions_own_threads_are_computed(tmp_path: Path) -> None:
    runner = Runner(open_session(convolution(tmp_path / "model.onnx"), threads=3), "cpu")
    sizes = [1 + number % 7 for number in range(200)]
    answers = [runner.submit(images(batch)) for batch in sizes]
    for batch, answer in zip(sizes, answers, strict=True):
        np.testing.assert_allclose(answer.result(WAIT).heatmap, heatmaps(images(batch)))


def test_failure_of_a_sessions_own_thread_is_the_error_of_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "explain_failure", lambda name, module, message: f"{name}: {message}")
    runner = Runner(open_session(convolution(tmp_path / "model.onnx"), threads=2), "cpu")
    error = runner.submit(np.zeros((1, 9, 9, 3), np.uint8)).exception(WAIT)
    assert isinstance(error, ProviderError)
    assert str(error).startswith("cpu: Got invalid dimensions for input: pixels")
    no_threads = Runner(open_session(convolution(tmp_path / "model.onnx"), threads=1), "cpu")
    error = no_threads.submit(images(1)).exception(WAIT)
    assert isinstance(error, ProviderError)
    assert "intra op thread pool must have at least one thread" in str(error)


class Apart:
    """A session whose own threads finish when the test allows it."""

    def __init__(self) -> None:
        self.done: Any = None

    def run_async(self, names: object, inputs: object, done: Any, user_data: object) -> None:
        self.done = done


def test_exhausted_memory_in_a_sessions_own_thread_is_reported() -> None:
    session = Apart()
    runner = Runner(session, "cpu")
    answer = runner.submit(images(2))
    session.done([], None, "std::bad_alloc")
    with pytest.raises(NotEnoughMemory, match="not enough memory to compute a batch of 2 images"):
        answer.result(WAIT)


def test_exhausted_memory_for_starting_a_sessions_own_thread_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Apart, "run_async", fail)
    with pytest.raises(NotEnoughMemory, match=r"not enough memory to compute a batch of 2 images \(MemoryError\)"):
        Runner(Apart(), "cpu").submit(images(2)).result(WAIT)


def test_session_is_deleted_only_after_its_own_threads_finished() -> None:
    """Deleting it while they compute would crash the process."""
    session = Apart()
    runner = Runner(session, "cpu")
    answer = runner.submit(images(1))
    gone = Event()

    def let_go(held: list[Runner]) -> None:
        held.clear()
        gone.set()

    held, runner = [runner], None  # type: ignore[assignment]
    Thread(target=let_go, args=(held,), daemon=True).start()
    assert not gone.wait(0.1)
    session.done([np.zeros((1, 1), np.float32)] * 3, None, "")
    assert gone.wait(WAIT)
    assert len(answer.result()) == 1


# --- errors of a run -------------------------------------------------------------------------------------------------


class Failing:
    """A session that starts and fails in a run."""

    def io_binding(self) -> Any:
        raise RuntimeError("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN is unavailable")

    def run(self, names: object, inputs: object) -> Any:
        return self.io_binding()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino", "coreml", "directml"])
def test_failure_of_a_provider_is_reported_with_its_message(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "explain_failure", lambda name, module, message: f"{name}: {message}")
    with pytest.raises(ProviderError) as caught:
        Runner(Failing(), provider)(images(1))
    assert str(caught.value) == f"{provider}: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN is unavailable"


@pytest.mark.parametrize(("provider", "at_a_time"), [("cpu", 2), ("openvino", 2), ("cuda", 1), ("directml", 1)])
def test_one_batch_at_a_time_runs_if_the_provider_requires_it(provider: Provider, at_a_time: int) -> None:
    running = most = 0
    lock = Lock()

    class Slow:
        def run(self, names: object, inputs: object) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            sleep(0.05)
            with lock:
                running -= 1
            return [np.zeros(1), np.zeros(1), np.zeros(1)]

    runner = Runner(Slow(), provider)
    runner._is_bound = False
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(runner, [images(1)] * 4))
    assert most == at_a_time


# --- pinned memory ---------------------------------------------------------------------------------------------------


class Cudart:
    """CUDA's runtime, with its allocated and freed memory."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.given: dict[int, Any] = {}
        self.returned: list[int] = []

    def cudaHostAlloc(self, pointer: Any, size: ctypes.c_size_t, flags: int) -> int:  # noqa: N802
        if self.status == 0:
            memory = ctypes.create_string_buffer(size.value)
            pointer._obj.value = ctypes.addressof(memory)
            self.given[ctypes.addressof(memory)] = memory
        return self.status

    def cudaFreeHost(self, pointer: ctypes.c_void_p) -> int:  # noqa: N802
        self.returned.append(pointer.value or 0)
        return 0


def test_pinned_memory_is_allocated_by_cuda_and_freed_with_its_last_view() -> None:
    library = Cudart()
    memory = pinned_memory(48, lambda name: library)
    memory[:] = 7
    (address,) = library.given
    assert (memory.nbytes, memory.ctypes.data) == (48, address)
    assert library.given[address].raw[:48] == bytes([7] * 48)
    view = memory[:12].reshape(1, 2, 2, 3)
    del memory
    gc.collect()
    assert library.returned == []
    del view
    gc.collect()
    assert library.returned == [address]


@pytest.mark.parametrize("status", [2, 35, 100])  # out of memory, driver too old, no device
def test_memory_is_ordinary_if_cuda_cannot_allocate_it(status: int) -> None:
    memory = pinned_memory(48, lambda name: Cudart(status))
    memory[:] = 7
    assert memory.tolist() == [7] * 48


def test_memory_is_ordinary_without_cuda() -> None:
    def load(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert pinned_memory(48, load).shape == (48,)


@pytest.mark.parametrize(
    ("system", "version", "expected"),
    [("linux", "13.0", "libcudart.so.13"), ("linux", "12.9", "libcudart.so.12"), ("win32", "13.0", "cudart64_13.dll")],
)
def test_cudas_runtime_is_the_one_that_onnxruntime_was_built_for(
    system: str, version: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def load(name: str) -> Any:
        names.append(name)
        raise OSError

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(onnxruntime, "cuda_version", version, raising=False)
    pinned_memory(48, load)
    assert names == [expected]


# --- a GPU -----------------------------------------------------------------------------------------------------------


def test_model_runs_on_the_gpu(tmp_path: Path) -> None:
    from ctonnx.system.nvidia import nvidia_driver

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA")
    driver = nvidia_driver()
    if driver is None or not driver.gpus:
        pytest.skip("this machine has no NVIDIA GPU")
    session = open_session(convolution(tmp_path / "model.onnx"), provider="cuda")
    runner = Runner(session, "cuda")
    for batch in (1, 5):
        np.testing.assert_allclose(runner(images(batch)).heatmap, heatmaps(images(batch)), rtol=1e-5)
    assert session.get_provider_options()["CUDAExecutionProvider"]["use_tf32"] == "0"
    assert runner._memory.base is not None, "the memory is not CUDA's"
    assert tuple(output.name for output in session.get_outputs()) == OUTPUT_NAMES


@pytest.mark.parametrize("raised", [MemoryError("std::bad_alloc"), RuntimeError("Failed to allocate memory: 9")])
def test_batch_without_enough_cpu_memory_is_not_a_fault_of_the_provider(raised: Exception) -> None:
    class Full:
        def run(self, *arguments: object) -> None:
            raise raised

    full: Any = Full()
    with pytest.raises(NotEnoughMemory, match=r"^not enough memory to compute a batch of 2 images \("):
        Runner(full, "cpu")(images(2))
