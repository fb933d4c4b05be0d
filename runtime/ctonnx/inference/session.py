"""Opens an ONNX file as an onnxruntime session on the requested provider, and on no other."""

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime import InferenceSession, SessionOptions

from ctonnx.artifacts.onnx_file.integrity import check_content
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ModelError, NotEnoughMemory, ProviderError
from ctonnx.inference.plugins import find_device, is_built_in, without_log
from ctonnx.inference.providers import PROVIDERS, Provider, execution_providers, plugin_options, preload
from ctonnx.parity.outputs import NOVELTY, output_names
from ctonnx.system.cpu import architecture, available_cores, check_threads, has_vnni
from ctonnx.system.file_reading import check_file, reason_of
from ctonnx.system.memory import enough_memory

__all__ = ["check_model_file", "open_session", "read_spec"]

_BATCH = "batch"  # name of the first dimension of all inputs and outputs
_STRIDE = 32  # pixels of the input for one pixel of the heatmap, as in every ResNet
_ONLY_FATAL = 4  # log level of a session; errors are raised as exceptions with a message of ctonnx
_SPINS_BRIEFLY = (1, 26)  # first onnxruntime with _SLEEPY: https://github.com/microsoft/onnxruntime/pull/27916
# Idle threads sleep after 50 microseconds, or with older releases immediately.
_SLEEPY = ("session.intra_op.spin_duration_us", "50")
_SLEEPING = ("session.intra_op.allow_spinning", "0")


def open_session(
    model: Path | bytes,
    *,
    content: bytes | None = None,
    provider: Provider = "cpu",
    threads: int | None = None,
    optimize: bool = True,
    spinning: bool = True,
    check: bool = True,
) -> InferenceSession:
    """Creates a session and checks that it uses the requested provider.

    The graph of a file is checked first, by `ctonnx.artifacts.onnx_file.operators`.

    Small nodes that a provider does not support (a reshape, a comparison) run on the CPU. A convolution on the CPU is
    an error, as the CPU would then do the provider's work, and so are more than half of TensorRT's on CUDA.

    Args:
        model: Path of an `.onnx` file, or bytes of a graph that was made here, which are not checked.
        content: Bytes of the file, to open in its place; None reads the file.
        provider: One of `ctonnx.inference.providers.PROVIDERS`. That of a plugin is registered first.
        threads: Number of threads within one operator; None uses all available cores.
        optimize: False skips the graph optimizations, for a session that only reads metadata.
        spinning: Whether idle threads spin for a while; sleeping frees the cores and increases the latency.
        check: False accepts a file with a wrong checksum.

    Raises:
        ModelError: If the file is missing, damaged, not an ONNX model, or has an operator that no ctonnx model has.
        ProviderError: If the provider is not in this onnxruntime, or did not start.
        NotEnoughMemory: If the CPU has too little memory.
        ValueError: If `threads` is out of range (`ctonnx.system.cpu.check_threads`).
    """
    if provider not in PROVIDERS:
        raise ProviderError(f"expected a provider of {', '.join(PROVIDERS)}, found {provider!r}")
    check_threads(threads)
    if isinstance(model, Path):
        if content is None:
            check_model_file(model)
        name, opened = f"'{model}'", model if content is None else content
        check_graph(opened, name=name)
        if check:
            check_content(opened, name=name)
    else:
        name, opened = "the model", model
    wanted = PROVIDERS[provider].execution_provider
    device = None if is_built_in(provider, onnxruntime) else _device_of(provider)
    threads = threads or available_cores()
    options = _options(provider, threads, optimize=optimize, spinning=spinning)
    if provider == "cpu":
        return _start(opened, name, options, [(wanted, {})])
    if device is None:
        preload(provider, onnxruntime)
        providers = execution_providers(provider, opened, threads=threads, version=onnxruntime.__version__)
    else:
        options.add_provider_for_devices([device], plugin_options(provider, threads=threads))
        providers = []  # those of the options
    failure = ""
    with without_log(onnxruntime):
        try:
            session = _start(opened, name, options, providers)
        except ModelError as error:
            plain = _options("cpu", threads, optimize=False, spinning=spinning)
            _start(opened, name, plain, [(PROVIDERS["cpu"].execution_provider, {})])
            failure = str(error.__cause__)  # the CPU opens the file, so the provider is at fault
            session = None
    if session is None or session.get_providers()[0] != wanted:
        from ctonnx.inference.diagnosis import explain_failure

        raise ProviderError(explain_failure(provider, onnxruntime, failure))
    _check_convolutions(session, provider)
    return session


def _device_of(provider: Provider) -> Any:
    """Returns the device of a provider that this build of onnxruntime does not contain.

    Raises:
        ProviderError: If it has no plugin, or the plugin has no device here.
    """
    from ctonnx.inference.diagnosis import explain_missing_plugin, explain_missing_provider, not_for_this_machine

    if PROVIDERS[provider].plugin is None:
        raise ProviderError(explain_missing_provider(provider, onnxruntime.get_available_providers()))
    if reason := not_for_this_machine(provider):  # so that no library is loaded that cannot run here
        raise ProviderError(reason)
    search = find_device(provider, onnxruntime)
    if search.device is None:
        raise ProviderError(explain_missing_plugin(provider, onnxruntime, search))
    return search.device


def read_spec(session: InferenceSession, name: str, *, one_image_a_run: bool = False) -> ModelSpec:
    """Returns the spec of the session's model.

    Args:
        session: Session of the model.
        name: Name of the model, for messages.
        one_image_a_run: Whether the session was opened with a batch size of 1.

    Raises:
        ModelError: If the model has no spec, or its inputs and outputs do not match it.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"'{name}' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
            "make one with: ctonnx export RUN"
        )
    spec = ModelSpec.from_json(text)
    inputs = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]
    expected = list(output_names([NOVELTY] if spec.novelty else []))
    if inputs != ["pixels"] or outputs not in (expected, [*expected, NOVELTY]):  # without a threshold, it is not used
        raise ModelError(
            f"'{name}' has a ctonnx spec, but maps {inputs} to {outputs}, where ['pixels'] to {expected} "
            "was expected; export the model again"
        )
    size, classes = spec.preprocessing.size, len(spec.classes)
    shapes = [item.shape[1:] for item in (session.get_inputs()[0], session.get_outputs()[0])]
    if shapes != [[size, size, 3], [classes]]:
        raise ModelError(
            f"'{name}' has the spec of {classes} classes at {size} pixels, but its graph's shapes are {shapes}; "
            "export the model again"
        )
    side = -(-size // _STRIDE)
    wanted = {
        "pixels": ("tensor(uint8)", [size, size, 3]),
        "logits": ("tensor(float)", [classes]),
        "probabilities": ("tensor(float)", [classes]),
        "heatmap": ("tensor(float)", [classes, side, side]),
        NOVELTY: ("tensor(float)", []),
    }
    for item in (*session.get_inputs(), *session.get_outputs()):
        found, batch = (item.type, item.shape[1:]), item.shape[0]
        if found != wanted[item.name] or (isinstance(batch, int) and not (one_image_a_run and batch == 1)):
            kind, sides = wanted[item.name]
            raise ModelError(
                f"'{name}' has a ctonnx spec, but its graph's '{item.name}' is {item.type} {item.shape}, where "
                f"{kind} {[_BATCH, *sides]} was expected; export the model again"
            )
    return spec


def _options(provider: Provider, threads: int, *, optimize: bool, spinning: bool) -> SessionOptions:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ONLY_FATAL
    if not spinning:
        # The gaps between a network's layers are shorter, and waking a sleeping thread takes long.
        version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
        options.add_session_config_entry(*(_SLEEPY if version >= _SPINS_BRIEFLY else _SLEEPING))
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if architecture() == "x86" and has_vnni() is not True:
        # Without VNNI, onnxruntime adds pairs of 8-bit products in 16 bits, which saturate, so that the outputs of an
        # INT8 model are wrong. This entry selects slower kernels that do not saturate (floating point does not use
        # them): https://github.com/microsoft/onnxruntime/pull/12088. They are also used if the features are unknown.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if PROVIDERS[provider].one_image_a_run:
        options.add_free_dimension_override_by_name(_BATCH, 1)
    if provider == "directml":
        # https://onnxruntime.ai/docs/execution-providers/DirectML-ExecutionProvider.html#configuration-options
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return options


def _check_convolutions(session: Any, provider: Provider) -> None:
    """Raises ProviderError if the session has the provider but runs convolutions elsewhere.

    None may be on the CPU. TensorRT may leave some to CUDA, on the same GPU, but most are its own: else `cuda` would
    run under its name. The nodes of an engine are reported as those of the graph that it was built from.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return  # older than onnxruntime 1.24
    parts = session.get_provider_graph_assignment_info()
    counts = Counter(part.ep_name for part in parts for node in part.get_nodes() if "Conv" in node.op_type)
    on_cpu = counts[PROVIDERS["cpu"].execution_provider]
    elsewhere = counts.total() - counts[PROVIDERS[provider].execution_provider]
    if on_cpu or elsewhere > counts.total() / 2:
        other = "cpu" if on_cpu else "cuda"
        raise ProviderError(
            f"the provider {provider!r} started, and left {on_cpu or elsewhere} of the model's {counts.total()} "
            f"convolutions to {'the CPU' if on_cpu else 'CUDA'}; use a model of another precision, or run on "
            f"--provider {other}"
        )


def check_model_file(model: Path) -> None:
    """Raises an error if a file cannot be a model, without reading it.

    Raises:
        ModelError: If it is missing, empty, or cannot be opened.
    """
    try:
        check_file(model)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        found = f"no file at '{model}'; list them with: ls runs/*/export"
        raise ModelError(f"expected an .onnx file, found {found}") from error
    except OSError as error:
        found = f"that it cannot be read: {reason_of(error)}"
        raise ModelError(f"expected an .onnx file at '{model}', found {found}") from error
    if model.stat().st_size == 0:
        raise ModelError(f"expected an .onnx file, found an empty file at '{model}'; export the model again")


def _start(
    model: Path | bytes, name: str, options: SessionOptions, providers: list[tuple[str, dict[str, str]]]
) -> InferenceSession:
    # On a GPU, its own memory may be full. The providers of a plugin are in the options.
    is_cpu = bool(providers) and providers[0][0] == PROVIDERS["cpu"].execution_provider
    try:
        file = os.fspath(model) if isinstance(model, Path) else model
        # Without enable_fallback=0 onnxruntime would continue on the CPU if a provider fails.
        with enough_memory(f"load {name}") if is_cpu else nullcontext():
            return onnxruntime.InferenceSession(file, options, providers or None, enable_fallback=0)
    except NotEnoughMemory:
        raise
    # onnxruntime's exceptions (InvalidProtobuf, InvalidGraph, Fail, ...) share no base class but Exception.
    except Exception as error:
        detail = str(error).strip().splitlines()[0][:200]
        raise ModelError(
            f"{name} is not a whole ONNX model (onnxruntime: {detail}); "
            "if it was copied or downloaded, do that again, else export it again"
        ) from error
