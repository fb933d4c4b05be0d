"""The answers before anything is timed: everyone's, those that count as right, and ctonnx's on the golden inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx.parity.comparison import Parity
from ctonnx.parity.outputs import Outputs
from ctonnx.system.text import Log
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, OWN
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.contenders import Contender, Model
from ctonnx_bench.cases.images import CheckImages, golden_images
from ctonnx_bench.correctness.judgement import Judgement, gate_of, judge
from ctonnx_bench.measurement.rounds import Bench, CaseFailed

__all__ = [
    "Reference",
    "Settled",
    "answer_all",
    "check_golden",
    "find_reference",
    "reference_is_wrong",
    "settle",
    "with_own_answers",
]

_BATCH = 8  # of a reference that is asked for the answers only


@dataclass(frozen=True, eq=False)
class Reference:
    """Whose answers count as right.

    Attributes:
        about: who it is, for people.
        outputs: Its answers.
        cases: ctonnx's own file that gave them, which they cannot judge; none where it was PyTorch.
    """

    about: str
    outputs: Outputs
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Settled:
    """What is said of a case's answers.

    Attributes:
        parity: to the reference's.
        accuracy: See `Judgement`.
        failures: what is wrong with them.
        verdict: `right` (they agree with the reference as the gate asks), `wrong`, `not shown` (a measured value misses
            its bound, and the images do not show that the answers do), `reference` (its file is held against itself
            alone), or `unjudged` (the reference is wrong).
        not_shown: The bounds that are not shown to be kept.
    """

    parity: Parity
    accuracy: dict[str, Any] | None
    failures: tuple[str, ...]
    verdict: str
    not_shown: tuple[str, ...] = ()


def answer_all(
    bench: Bench, cases: Sequence[Case], skipped: dict[str, str], log: Log
) -> tuple[list[Case], dict[Case, Outputs]]:
    """Lets each case answer for all images once; returns those that could, and their answers.

    Args:
        bench: where they run.
        cases: in the order that they are measured.
        skipped: is told the peers that failed, and why.
        log: Called with each progress message.
    """
    answers: dict[Case, Outputs] = {}
    made: dict[str, Contender] = {}
    for case in cases:
        title = case.contender.title
        if title in skipped:
            continue
        log(f"answering: {case.title}, batch {case.batch_size}")
        try:
            if ADAPTERS[case.contender.adapter].prepares:
                if title not in made:
                    log(f"{title}: making its model")
                    made[title] = bench.prepare(case).contender
                case = case.of(made[title])
            answers[case] = bench.answers(case)
        except CaseFailed as error:
            skipped[title] = f"it failed: {error}"
    left = {case: given for case, given in answers.items() if case.contender.title not in skipped}
    return list(left), left


def find_reference(
    bench: Bench,
    answers: Mapping[Case, Outputs],
    images: CheckImages,
    models: Sequence[Model],
    run: Run | None,
    log: Log,
) -> Reference:
    """Returns whose answers count as right.

    Args:
        bench: where one runs that has not answered yet.
        answers: of all cases.
        images: what was asked.
        models: that are measured.
        run: whose PyTorch checkpoint is asked; None takes the golden inputs' answers, or else FP32's.
        log: Called with each progress message.

    Raises:
        CtonnxError: there is none.
    """
    first = next(iter(answers))
    if run is not None:
        log("answering: PyTorch, the reference")
        contender = Contender("PyTorch, the reference", "pytorch", run.folder.resolve(), "fp32", 0)
        try:
            return Reference("PyTorch, computed here", bench.answers(_asked(first, contender)))
        except CaseFailed as error:
            raise CtonnxError(
                f"expected PyTorch to answer for --reference, found: {error}; it needs: "
                'pip install "ctonnx[train,export]"'
            ) from error
    if images.golden is not None:
        return Reference("PyTorch, as kept in golden.npz", images.golden.outputs)
    for case, given in answers.items():
        if case.contender.own and case.contender.precision == "fp32":
            return Reference("ctonnx FP32", given, (case,))
    beside = models[0].path.resolve().with_name("model.fp32.onnx")
    if not beside.is_file():
        raise CtonnxError(
            f"expected model.fp32.onnx beside '{models[0].path}', whose answers count as right, found none; measure it "
            "too, or name the run with --reference RUN"
        )
    log("answering: FP32, the reference")
    whole = _asked(first, Contender("FP32, the reference", OWN, beside, "fp32", 0))
    return Reference("ctonnx FP32", bench.answers(whole), (whole,))


def check_golden(bench: Bench, cases: Sequence[Case], models: Sequence[Model], log: Log) -> dict[Case, tuple[str, ...]]:
    """Holds ctonnx's answers for the golden inputs against PyTorch's, wherever these inputs lie beside a model.

    Without it FP32 would be held against itself alone, and a wrong FP32 would make a right INT8 seem wrong.

    Args:
        bench: where they run.
        cases: whose answers are held; peers' are not.
        models: that are measured.
        log: Called with each progress message.

    Returns:
        For each case that has golden inputs what is wrong with its answers for them.

    Raises:
        ModelError: Golden inputs are another checkpoint's.
    """
    found: dict[Case, tuple[str, ...]] = {}
    images: dict[Path, CheckImages] = {}
    gates = {model.path.resolve(): gate_of(model) for model in models}
    for model in models:
        folder = model.path.resolve().parent
        if folder not in images and (folder / FILE_NAME).is_file():
            images[folder] = golden_images(model)
    for case in dict.fromkeys(cases):
        contender = case.contender
        golden = images.get(contender.model.parent)
        if golden is None or not contender.own:
            continue
        log(f"answering for the golden inputs: {case.title}, batch {case.batch_size}")
        outputs = bench.answers(case, golden)
        judgement = judge(contender, outputs, _right(golden), golden, gates.get(contender.model))
        found[case] = tuple(f"on the golden inputs, {failure}" for failure in judgement.failures)
    return found


def with_own_answers(contender: Contender, images: CheckImages, models: Sequence[Model]) -> CheckImages:
    """Returns golden inputs with what a contender's own export answered for them: two exports may answer differently.

    Args:
        contender: whose answers are to be judged.
        images: what was asked; those beside the first model where they are golden inputs, else returned as they are.
        models: that are measured.
    """
    if images.golden is None or contender.model.parent == models[0].path.resolve().parent:
        return images
    model = next((model for model in models if model.path.resolve() == contender.model), None)
    if model is None or not (contender.model.parent / FILE_NAME).is_file():
        return replace(images, golden=None)  # nothing is known of its own answers
    beside = golden_images(model)
    return beside if np.array_equal(beside.pixels, images.pixels) else replace(images, golden=None)


def reference_is_wrong(reference: Reference, golden: Mapping[Case, tuple[str, ...]]) -> bool:
    """Says whether the reference's own answers for the golden inputs are wrong."""
    return any(golden.get(case) for case in reference.cases)


def settle(case: Case, judgement: Judgement, reference: Reference, golden: Mapping[Case, tuple[str, ...]]) -> Settled:
    """Returns what is said of a case, from how it stands to the reference and what it answered for the golden inputs.

    Args:
        case: whose answers these are.
        judgement: of its answers against the reference's.
        reference: that they were held against.
        golden: from `check_golden`.
    """
    wrong, not_shown = golden.get(case, ()), tuple[str, ...]()
    verdict = "right"
    if reference_is_wrong(reference, golden):  # which then says nothing about others
        verdict = "right" if case in golden else "unjudged"
    else:
        wrong, not_shown = (*wrong, *judgement.failures), judgement.not_shown
        verdict = "not shown" if not_shown else "right"
        is_proven = any(other in golden for other in reference.cases)
        if not is_proven and case.contender.model in {other.contender.model for other in reference.cases}:
            verdict = "reference"
    return Settled(judgement.parity, judgement.accuracy, wrong, "wrong" if wrong else verdict, not_shown)


def _asked(case: Case, contender: Contender) -> Case:
    provider = ADAPTERS[contender.adapter].place(case.provider) or "cpu"
    return replace(case, contender=contender, provider=provider, batch_size=_BATCH, bound=False, workers=1)


def _right(images: CheckImages) -> Outputs:
    if images.golden is None:
        raise ValueError("expected golden inputs")
    return images.golden.outputs
