"""Latencies of ctonnx and PyTorch at each batch size, the settings of the provider, and `ctonnx bench` itself."""

import gc
import os
import shlex
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnxruntime import OrtValue

from ctonnx.artifacts.golden import Golden, load_golden
from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx.inference.cuda import CudaSettings, cuda_settings
from ctonnx.inference.providers import Provider
from ctonnx.inference.session import open_session
from ctonnx.parity.acceptance_gates import DEVICE_GATES, GATES
from ctonnx.parity.comparison import compare
from ctonnx.parity.golden_gate import allow
from ctonnx.parity.outputs import Outputs, output_names
from ctonnx.system.cpu import available_cores
from ctonnx_bench.benchmark.document import run_benchmark
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, OWN, Opening, open_network
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.measurement.worker import timed_loop, warm_up, without_collector
from ctonnx_bench.report.files import write_reports

__all__ = ["SETTINGS", "Latency", "Setting", "run"]

_PEERS = ("pytorch", "pytorch-fp16", "torch-compile-fp16", "torch-graphs-fp16")
_LEAST_RUNS = 5
_DISTINCT = 32  # images, as in `ctonnx bench`
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
_COMPILING_S = 25.0  # of torch.compile, for each batch size
_PEER_S, _OWN_S = 5.0, 2.0
_SETTINGS_S = 30.0
_BENCH_S = 45.0

SETTINGS = {
    "default": CudaSettings(),
    "TF32": CudaSettings(tf32=True),
    "exhaustive search": CudaSettings(search="exhaustive"),
    "NHWC": CudaSettings(nhwc=True),
    "NHWC, exhaustive search": CudaSettings(nhwc=True, search="exhaustive"),
    "CUDA graph": CudaSettings(cuda_graph=True),
}
"""Measured settings of the CUDA provider."""


@dataclass(frozen=True)
class Latency:
    """Latency of a network at a batch size.

    Attributes:
        network: Title of the contender.
        transfer: `on the device` or `host copies`.
        batch: Images per run.
        p50_ms: Median, in milliseconds.
        p95_ms: 95th percentile, in milliseconds.
        images_per_s: Images per second at the median.
        max_dp: Largest difference of a probability from PyTorch's in FP32.
        agreement: Share of the golden inputs, all at each batch size, with PyTorch's class.
    """

    network: str
    transfer: str
    batch: int
    p50_ms: float
    p95_ms: float
    images_per_s: float
    max_dp: float
    agreement: float


@dataclass(frozen=True)
class Setting:
    """Latency and parity of a model with a setting of the provider, on the device.

    Attributes:
        setting: Name in `SETTINGS`.
        precision: Precision of the model.
        batch: Images per run.
        p50_ms: Median, in milliseconds; None if it does not run.
        max_dp: Largest difference of a probability from the default setting's.
        passes: Whether that is within the gate of devices.
        problem: Error if it does not run.
    """

    setting: str
    precision: str
    batch: int
    p50_ms: float | None = None
    max_dp: float | None = None
    passes: bool | None = None
    problem: str = ""


def run(context: Context) -> None:
    """Measures ctonnx, the settings of the provider and `ctonnx bench`, then the peers."""
    run = Run(context.work / "runs" / RUN)
    if not context.settings.compiles:
        context.note("torch.compile: torch's compiler is off in the rehearsal, as it takes minutes on a CPU")
    golden = load_golden(run.export_folder / "golden.npz")
    _compile_each_batch_size()
    on_gpu = context.settings.provider == "cuda"
    for contender in _own(context, run):
        _try(context, contender, golden)
    if context.has_time(_SETTINGS_S if on_gpu else 1, "settings of the provider"):
        _measure_settings(context, run, golden)
    if context.has_time(_BENCH_S if on_gpu else 5, "ctonnx bench"):
        try:
            _bench(context, run)
        except CtonnxError as error:
            context.fail(f"ctonnx bench: {error}")
    for contender in _peers(context, run):
        _try(context, contender, golden)


@dataclass(frozen=True, kw_only=True)
class _Contender:
    """A network with its title, adapter, options and the precision whose gate its outputs must pass."""

    title: str
    adapter: str
    opening: Opening
    precision: Precision
    least_s: float

    @property
    def is_peer(self) -> bool:
        return self.adapter != OWN


def _own(context: Context, run: Run) -> Iterator[_Contender]:
    """Yields ctonnx's models: on the device, and with host copies."""
    for bound in _transfers(context):
        for precision in _PRECISIONS:
            title, model = f"ctonnx {precision.upper()}", run.model_file(precision)
            if model.exists():
                opening = Opening(
                    model=model, provider=context.settings.provider, threads=available_cores(), bound=bound
                )
                yield _Contender(title=title, adapter=OWN, opening=opening, precision=precision, least_s=_OWN_S)
            else:
                context.leave_out(f"{title}: left out, the export wrote no {model.name}")


def _peers(context: Context, run: Run) -> Iterator[_Contender]:
    """Yields PyTorch's networks: on the device, and with host copies."""
    provider = context.settings.provider
    for bound in _transfers(context):
        for name in _PEERS:
            if name == "torch-graphs-fp16" and provider != "cuda":
                context.note("PyTorch's CUDA graph: left out, there is no CUDA")
                continue
            yield _Contender(
                title=ADAPTERS[name].title,
                adapter=name,
                opening=Opening(model=run.folder, provider=provider, threads=available_cores(), bound=bound),
                precision="fp32" if ADAPTERS[name].precision == "fp32" else "fp16",
                least_s=_COMPILING_S if "compile" in name and context.settings.compiles else _PEER_S,
            )


def _transfers(context: Context) -> tuple[bool, ...]:
    """Returns whether inputs and outputs stay on the device: both on a GPU; a CPU has only host memory."""
    return (True, False) if context.settings.provider == "cuda" else (False,)


def _try(context: Context, contender: _Contender, golden: Golden) -> None:
    """Measures a network; an error is a failure of ctonnx, and a note of a peer."""
    if not context.has_time(contender.least_s, contender.title, is_peer=contender.is_peer):
        return
    try:
        _measure(context, contender, golden)
    except Exception as error:  # of any library; the other networks are still measured
        text = f"{contender.title}: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
        context.note(text) if contender.is_peer else context.fail(text)
    _free_memory()
    _compare(context)  # each time, as the step may be cut


def _measure(context: Context, contender: _Contender, golden: Golden) -> None:
    """Measures a network at each batch size; its outputs for all golden inputs must pass the gate at each of them."""
    title, opening = contender.title, contender.opening
    network = open_network(contender.adapter, opening)
    gate = GATES[contender.precision]
    if not contender.is_peer:  # as `ctonnx verify` does
        gate = allow(gate, golden.outputs, golden.model_outputs[contender.precision]).gate
    images = len(golden.pixels)
    transfer = "on the device" if opening.bound else "host copies"
    for batch in context.settings.batch_sizes:
        part = f"{title}, {transfer}, batch {batch}"
        if not context.has_time(contender.least_s, part, is_peer=contender.is_peer):
            return
        parts = [network.predict(_batch(golden.pixels, start, batch)) for start in range(0, images, batch)]
        parity = compare(golden.outputs, Outputs.concatenate(parts)[:images])
        for failure in gate.failures(parity):
            text = f"{part}: {failure}"
            context.note(text) if contender.is_peer else context.fail(text)
        count = max(1, _DISTINCT // batch)
        staged = [network.stage(_batch(golden.pixels, number * batch, batch)) for number in range(count)]
        samples = _timed(network.run, staged, context.settings.timed_s)
        p50 = statistics.median(samples)
        context.row(
            "Latency",
            Latency(
                title,
                transfer,
                batch,
                p50 * 1e3,
                float(np.percentile(samples, 95)) * 1e3,
                batch / p50,
                parity.max_dp,
                parity.agreement,
            ),
        )


def _timed(run: Any, staged: list[Any], seconds: float) -> list[float]:
    with without_collector():
        warm_up(run, staged, seconds)
        return timed_loop(run, staged, seconds, least=_LEAST_RUNS)


def _batch(pixels: NDArray[np.uint8], start: int, count: int) -> NDArray[np.uint8]:
    """Returns images from a place on, beginning again after the last."""
    return np.ascontiguousarray(pixels[(start + np.arange(count)) % len(pixels)])


def _compare(context: Context) -> None:
    """Records the ratios that the project has a bound for."""
    rows = {
        (row["network"], row["transfer"], row["batch"]): row["p50_ms"]
        for row in context.recorded.tables.get("Latency", [])
    }
    for batch in context.settings.batch_sizes:
        own = rows.get(("ctonnx FP16", "on the device", batch))
        compiled = rows.get(("torch.compile FP16", "on the device", batch))
        copies = rows.get(("ctonnx FP16", "host copies", batch))
        if own and compiled:
            context.fact(f"FP16 throughput over torch.compile's, on the device, batch {batch}", compiled / own)
        if own and copies:
            context.fact(f"FP16 throughput with host copies over that on the device, batch {batch}", own / copies)


def _measure_settings(context: Context, run: Run, golden: Golden) -> None:
    """Measures each setting at the middle batch size, with one batch that stays in the device's memory."""
    if context.settings.provider != "cuda":
        context.note("settings of the CUDA provider: only the default was measured, on the CPU")
    batch = context.settings.batch_sizes[len(context.settings.batch_sizes) // 2]
    pixels = _batch(golden.pixels, 0, batch)
    for precision in _PRECISIONS:
        expected: Outputs | None = None
        for name, settings in SETTINGS.items():
            model = run.model_file(precision)
            if not model.exists() or (context.settings.provider != "cuda" and name != "default"):
                continue
            if not context.has_time(5 if context.settings.provider == "cuda" else 1, f"{name}, {precision}"):
                return
            try:
                with cuda_settings(settings):
                    median, outputs = _run_bound(model, pixels, context)
            except Exception as error:  # onnxruntime's exceptions share no base class but this
                problem = str(error).strip().splitlines()[0][:300]
                context.row("Provider settings", Setting(name, precision, batch, problem=problem))
                continue
            expected = expected or outputs
            difference = compare(expected, outputs).max_dp
            allowed = DEVICE_GATES[precision].max_dp
            context.row(
                "Provider settings",
                Setting(name, precision, batch, median * 1e3, difference, difference <= allowed),
            )
            _free_memory()


def _run_bound(model: Path, pixels: NDArray[np.uint8], context: Context) -> tuple[float, Outputs]:
    """Returns the median seconds of runs on one batch, whose input and outputs keep their addresses, and the outputs.

    A CUDA graph replays the addresses of its capture.
    """
    provider = context.settings.provider
    session = open_session(model, provider=cast("Provider", provider))
    names = output_names([item.name for item in session.get_outputs()])
    plain = session.io_binding()
    given = OrtValue.ortvalue_from_numpy(pixels, provider, 0)
    plain.bind_ortvalue_input("pixels", given)
    shapes = {item.name: [len(pixels), *item.shape[1:]] for item in session.get_outputs()}
    kept = {name: OrtValue.ortvalue_from_shape_and_type(shapes[name], np.float32, provider, 0) for name in names}
    for name, value in kept.items():
        plain.bind_ortvalue_output(name, value)

    def run(binding: Any) -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    samples = _timed(run, [plain], context.settings.timed_s)
    return statistics.median(samples), Outputs(*(kept[name].numpy() for name in names))


def _bench(context: Context, run: Run) -> None:
    """Runs `ctonnx bench` on both precisions at the middle batch size, and writes its reports."""
    size = context.settings.batch_sizes[len(context.settings.batch_sizes) // 2]
    models = tuple(file for precision in _PRECISIONS if (file := run.model_file(precision)).exists())
    settings = Settings(
        models=models,
        provider=context.settings.provider,
        batch_sizes=(size,),
        rounds=1,
        duration=4 * context.settings.timed_s,
    )
    # From the folder that has the folder of the reports.
    shown = [os.path.relpath(path, context.output.parent) for path in (*models, context.output / "bench")]
    options = [
        f"--provider={settings.provider}",
        f"--batch-size={size}",
        "--rounds=1",
        f"--duration={settings.duration:g}",
    ]
    command = shlex.join(["ctonnx", "bench", *shown[:-1], *options, f"--output={shown[-1]}"])
    document = run_benchmark(settings, command=command, log=print)
    write_reports(document, context.output / "bench")
    if len(document["cases"]) < len(models):
        context.leave_out(
            f"ctonnx bench: measured {len(document['cases'])} of {len(models)} models; see bench/bench.md"
        )
    context.fact("ctonnx bench", {case["title"]: case["verdict"] for case in document["cases"]})
    if not document["passed"]:
        raise CtonnxError("expected right outputs of every case of ctonnx bench, found wrong ones; see bench/bench.md")


def _compile_each_batch_size() -> None:
    """Makes torch.compile compile each batch size for itself, as in the processes of `ctonnx bench`."""
    import torch._dynamo

    torch._dynamo.config.automatic_dynamic_shapes = False


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
