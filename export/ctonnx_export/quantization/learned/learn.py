"""`learn`: fine-tunes a candidate of the search, compares PyTorch with onnxruntime, and chooses the better model."""

import time
from dataclasses import dataclass
from typing import Any

import onnx
from tqdm import tqdm

from ctonnx.parity.acceptance_gates import Gate
from ctonnx.system.text import Log, counted, duration
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import Ranges
from ctonnx_export.quantization.learned.exactness import check_exactness
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized
from ctonnx_export.quantization.learned.fine_tuning import Step, fine_tune
from ctonnx_export.quantization.learned.selection import Finalist, select
from ctonnx_export.quantization.qdq import quantize
from ctonnx_export.quantization.search.judging import Judging
from ctonnx_export.quantization.search.scheme_search import Search
from ctonnx_export.trial import ComparisonSet, Trial, judge, measure

__all__ = ["Learned", "learn"]

_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Result of the fine-tuning: the better one of the trained and the plain candidate.

    Attributes:
        model: Its model.
        scheme: Its scheme, JSON-ready, with `learned` if it was trained.
        judging: Images that judge it.
        trials: Trials of the trained candidates on the images that choose.
        facts: Entries for the report: the training, its exactness, and whether its result was chosen.
    """

    model: onnx.ModelProto
    scheme: dict[str, Any]
    judging: Judging
    trials: tuple[Trial, ...]
    facts: dict[str, Any]


def learn(
    found: Search,
    plain: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    images: ImageSet,
    compared: ComparisonSet,
    gate: Gate,
    *,
    epochs: int,
    networks: int = 1,
    log: Log = lambda line: None,
) -> Learned:
    """Fine-tunes the search's start from the calibration images, and keeps the result if it is better.

    Args:
        found: Result of the search.
        plain: FP32 model, with shapes inferred, that the candidates were quantized from.
        ranges: Activation ranges of its tensors.
        correction: Correction of the logits' mean error, which the trained candidate is tried with and without.
        images: Calibration images, which it is trained on; none of them is compared.
        compared: Compared images.
        gate: Gate that the candidates must pass.
        epochs: Number of passes over the calibration images.
        networks: Number of networks in the model; the more, the fewer images have their activations in memory.
        log: Called with each progress message.

    Raises:
        CheckFailed: If onnxruntime does not compute the trained graph as its training did.
    """
    start = quantize(plain, ranges, found.start)  # without correction: the training reduces the error itself
    log(
        f"int8: fine-tuning {found.start.label} on {counted(len(images), 'calibration image')}, "
        f"{counted(epochs, 'epoch')}, with the outputs of FP32 as the target"
    )
    batch = max(1, _BATCH // networks)
    with _Progress(epochs, len(images), log) as progress:
        network = fine_tune(
            start, plain, images, epochs=epochs, seed=compared.seed, batch=batch, progress=progress.step
        )
    training = {"images": len(images), "epochs": epochs, "seed": compared.seed, "from": found.start.label}
    trained = _finalists(network, found, correction, compared, training)
    exactness = check_exactness(network, trained[0].measured.outputs.probabilities, compared, found.start.target)
    log(
        f"int8: PyTorch and onnxruntime compute the fine-tuned model alike: max |dp| {exactness.max_dp:.2g} on "
        f"{counted(exactness.images, 'image')}, at most {exactness.bound:g} is allowed"
    )
    before = Finalist(label=found.scheme.label, model=found.model, measured=found.measured)
    winner, judging = select(before, trained, found.judging, compared, gate)
    trials = tuple(judge(one.measured, compared, gate, found.judging.choosing) for one in trained)
    for one, trial in zip(trained, trials, strict=True):
        log(f"int8, {one.label}: {trial.summary}")
    is_trained = any(winner is one for one in trained)
    log(
        "int8: the fine-tuned model is chosen"
        if is_trained
        else "int8: no fine-tuned model is better: chosen is the one without"
    )
    facts = {**training, "exactness": exactness.as_dict(), "chosen": is_trained}
    scheme = dict(winner.measured.scheme)
    if is_trained:
        scheme["learned"] |= {"exactness": exactness.as_dict()}
    return Learned(model=winner.model, scheme=scheme, judging=judging, trials=trials, facts={"learned": facts})


def _finalists(
    network: FakeQuantized,
    found: Search,
    correction: BiasCorrection,
    compared: ComparisonSet,
    training: dict[str, Any],
) -> list[Finalist]:
    """Returns the trained model and, if there are images to correct its bias with, the corrected one."""
    trained = []
    for corrected in (False, True) if len(correction.rows) else (False,):
        model = network.as_onnx()
        if corrected:
            correction.apply(model)
        scheme = {**found.start.as_dict(), "learned": {**training, "bias_corrected": corrected}}
        label = f"fine-tuned from {found.start.label}{', bias corrected' if corrected else ''}"
        trained.append(Finalist(label=label, model=model, measured=measure(model, compared, scheme)))
    return trained


class _Progress:
    """A progress bar of the images on a terminal, and a line with the loss and the time that is left for each epoch."""

    def __init__(self, epochs: int, images: int, log: Log) -> None:
        self._epochs, self._images, self._log = epochs, images, log
        self._start = time.perf_counter()
        self._bar = tqdm(total=epochs * images, desc="fine-tuning", unit="image", leave=False, disable=None)
        self._losses: list[float] = []
        self._done = 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def step(self, step: Step) -> None:
        self._bar.update(step.images)
        self._losses.append(step.loss * step.images)
        self._done += step.images
        if self._done % self._images:
            return
        seconds = (time.perf_counter() - self._start) / step.epoch * (self._epochs - step.epoch)
        left = f"; about {duration(seconds)} left" if step.epoch < self._epochs else ""
        loss = sum(self._losses) / self._images
        self._log(f"int8: fine-tuning, epoch {step.epoch} of {self._epochs}: loss {loss:.4g}{left}")
        self._losses.clear()
