"""Outputs computed before anything is timed: all contenders', the reference, and ctonnx's for the golden inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx.inference.providers import Provider
from ctonnx.parity.outputs import Outputs
from ctonnx.system.text import Log
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, OWN
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.contenders import Contender, Model
from ctonnx_bench.cases.images import CheckImages, golden_images
from ctonnx_bench.correctness.judgement import Verdict, altered, gate_of, judge
from ctonnx_bench.measurement.rounds import Bench, CaseFailed

__all__ = [
    "Reference",
    "check_golden",
    "decide_verdict",
    "find_reference",
    "judge_all",
    "predict_all",
    "reference_is_wrong",
    "with_own_golden",
]

_BATCH = 8  # of a reference that is not timed


@dataclass(frozen=True, eq=False)
class Reference:
    """Outputs that the others are compared with.

    `cases` is the case of ctonnx's own file that computed them, which they cannot prove right; it is empty for PyTorch.
    """

    about: str
    outputs: Outputs
    cases: tuple[Case, ...] = ()


def predict_all(
    bench: Bench, cases: Sequence[Case], skipped: dict[str, str], log: Log
) -> tuple[list[Case], dict[Case, Outputs]]:
    """Computes each case's outputs for all images once; returns the cases that succeeded, and their outputs.

    Failed peers are added to `skipped`, with the reason.
    """
    outputs: dict[Case, Outputs] = {}
    prepared: dict[str, Contender] = {}
    for case in cases:
        title = case.contender.title
        if title in skipped:
            continue
        log(f"computing outputs: {case.title}, batch {case.batch_size}")
        try:
            if ADAPTERS[case.contender.adapter].prepares:
                if title not in prepared:
                    log(f"{title}: preparing its model")
                    prepared[title] = bench.prepare(case).contender
                case = case.of(prepared[title])
            outputs[case] = bench.outputs(case)
        except CaseFailed as error:
            skipped[title] = f"it failed: {error}"
    left = {case: found for case, found in outputs.items() if case.contender.title not in skipped}
    return list(left), left


def find_reference(
    bench: Bench,
    outputs: Mapping[Case, Outputs],
    images: CheckImages,
    models: Sequence[Model],
    run: Run | None,
    log: Log,
) -> Reference:
    """Returns the reference: PyTorch's outputs for the checkpoint of `run`, or else the golden outputs, or else FP32's.

    Raises:
        CtonnxError: If there is none.
    """
    first = next(iter(outputs))
    if run is not None:
        log("computing outputs: PyTorch, the reference")
        contender = Contender("PyTorch, the reference", "pytorch", run.folder.resolve(), "fp32", 0)
        try:
            return Reference("PyTorch, computed here", bench.outputs(_reference_case(first, contender)))
        except CaseFailed as error:
            raise CtonnxError(
                f"expected outputs of PyTorch for --reference, found: {error}; it needs: "
                'pip install "ctonnx[train,export]"'
            ) from error
    if images.golden is not None:
        return Reference("PyTorch, as kept in golden.npz", images.golden.outputs)
    for case, found in outputs.items():
        if case.contender.own and case.contender.precision == "fp32":
            return Reference("ctonnx FP32", found, (case,))
    beside = models[0].path.resolve().with_name("model.fp32.onnx")
    if not beside.is_file():
        raise CtonnxError(
            f"expected model.fp32.onnx beside '{models[0].path}' as the reference, found none; measure it too, or name "
            "the run with --reference RUN"
        )
    log("computing outputs: FP32, the reference")
    fp32 = _reference_case(first, Contender("FP32, the reference", OWN, beside, "fp32", 0))
    return Reference("ctonnx FP32", bench.outputs(fp32), (fp32,))


def check_golden(bench: Bench, cases: Sequence[Case], models: Sequence[Model], log: Log) -> dict[Case, tuple[str, ...]]:
    """Compares ctonnx's outputs for the golden inputs with PyTorch's, for each model that has golden inputs beside it.

    Otherwise FP32 would be compared only with itself, and a wrong FP32 would make a right INT8 seem wrong. Returned are
    the failures of each case that has golden inputs.

    Raises:
        ModelError: If golden inputs are of another checkpoint.
    """
    failures: dict[Case, tuple[str, ...]] = {}
    images: dict[Path, CheckImages] = {}
    gates = {model.path.resolve(): gate_of(model) for model in models}
    for model in models:
        folder = model.path.resolve().parent
        if folder not in images and (folder / FILE_NAME).is_file():
            images[folder] = golden_images(model)
    for case in dict.fromkeys(cases):
        contender = case.contender
        inputs = images.get(contender.model.parent)
        if inputs is None or inputs.golden is None or not contender.own:
            continue
        log(f"computing outputs for the golden inputs: {case.title}, batch {case.batch_size}")
        outputs = bench.outputs(case, inputs)
        gate = gates.get(contender.model)
        verdict = judge(contender, outputs, inputs.golden.outputs, inputs, gate, provider=_provider(case))
        failures[case] = tuple(f"on the golden inputs, {failure}" for failure in verdict.failures)
    return failures


def with_own_golden(contender: Contender, images: CheckImages, models: Sequence[Model]) -> CheckImages:
    """Returns the images with the golden outputs of the contender's own export: those of two exports may differ.

    Images with the golden inputs beside the first model, or without any, are returned unchanged.
    """
    if images.golden is None or contender.model.parent == models[0].path.resolve().parent:
        return images
    model = next((model for model in models if model.path.resolve() == contender.model), None)
    if model is None or not (contender.model.parent / FILE_NAME).is_file():
        return replace(images, golden=None)  # its own golden outputs are unknown
    beside = golden_images(model)
    return beside if np.array_equal(beside.pixels, images.pixels) else replace(images, golden=None)


def reference_is_wrong(reference: Reference, golden: Mapping[Case, tuple[str, ...]]) -> bool:
    """Returns whether the reference's own outputs for the golden inputs are wrong."""
    return any(golden.get(case) for case in reference.cases)


def judge_all(
    outputs: Mapping[Case, Outputs],
    images: CheckImages,
    models: Sequence[Model],
    reference: Reference,
    golden: Mapping[Case, tuple[str, ...]],
) -> dict[Case, Verdict]:
    """Returns the verdict on each case, with the failures that `check_golden` returned."""
    own = {model.path.resolve(): model for model in models}
    novelty = models[0].spec.novelty
    verdicts = {}
    for case, found in outputs.items():
        contender = case.contender
        model = own.get(contender.model) if contender.own else None
        checked = with_own_golden(contender, images, models)
        verdict = judge(
            contender,
            found,
            reference.outputs,
            checked,
            gate_of(model) if model else None,
            novelty_threshold=None if novelty is None else novelty.threshold,
            provider=_provider(case),
        )
        verdict = decide_verdict(case, verdict, reference, golden)
        if model and (failure := altered(model)):
            verdict = replace(verdict, failures=(*verdict.failures, failure))
        verdicts[case] = verdict
    return verdicts


def decide_verdict(
    case: Case, verdict: Verdict, reference: Reference, golden: Mapping[Case, tuple[str, ...]]
) -> Verdict:
    """Returns the verdict after the golden inputs: they prove cases and the reference itself right or wrong."""
    failures = golden.get(case, ())
    if reference_is_wrong(reference, golden):  # so that the comparison with it proves nothing
        return replace(verdict, failures=failures, not_shown=(), unproven=None if case in golden else "unjudged")
    is_proven = any(other in golden for other in reference.cases)
    is_same = case.contender.model in {other.contender.model for other in reference.cases}
    return replace(
        verdict,
        failures=(*failures, *verdict.failures),
        unproven="reference" if is_same and not is_proven else None,
    )


def _provider(case: Case) -> Provider:
    return cast("Provider", case.provider)


def _reference_case(case: Case, contender: Contender) -> Case:
    provider = ADAPTERS[contender.adapter].peer_provider(case.provider) or "cpu"
    return replace(case, contender=contender, provider=provider, batch_size=_BATCH, bound=False, workers=1)
