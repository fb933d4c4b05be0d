"""`stress_test`: the decisions of a model on the scans of an evaluation, changed in many ways."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.images import load, to_pixels
from ctonnx.images.scan import Scan
from ctonnx.prediction.cautions import caution_of
from ctonnx.system.cpu import available_cores
from ctonnx.system.text import Log, counted
from ctonnx_train.evaluation.evaluate import Evaluation
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel
from ctonnx_train.stress.changes import Answers, answers_of, count_changes
from ctonnx_train.stress.transforms import TRANSFORMS, Transform

__all__ = ["SCHEMA_VERSION", "stress_test"]

SCHEMA_VERSION = 1
"""Version of the stress test's JSON document."""

_BATCH = 32


class _Variant(NamedTuple):
    transform: Transform
    strength: float


def stress_test(
    model: EvaluatedModel,
    evaluation: Evaluation,
    *,
    transforms: Sequence[Transform] | None = None,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Changes the scans of an evaluation in many ways, and counts the decisions and classes that differ.

    Each scan is decoded once; a change acts on the decoded scan, before it is scaled to the model's input.

    Args:
        model: Model of the evaluation.
        evaluation: Its result, with the scans.
        transforms: Changes to make; None makes all.
        log: Called with each progress message.

    Returns:
        A JSON-ready dictionary: `schema_version`, `checkpoint_sha256`, `model` (the file that was measured: its name,
        kind, precision and SHA-256), `data` (its name and fingerprint), `split`, `images`, `decided_by` (what the
        decisions rest on), `decisions` (numbers of the unchanged scans), and `transforms`: for each change `judged_by`,
        the kind that the gate counts, and its `strengths` from mild to strong, with
        `ctonnx_train.stress.changes.count_changes` of each.
    """
    transforms = TRANSFORMS if transforms is None else transforms
    source = evaluation.source
    if source is None:
        raise ValueError("expected an evaluation with its images, found one without")
    variants = [_Variant(transform, strength) for transform in transforms for strength in transform.strengths]
    paths = [sample.path for sample in evaluation.samples]
    log(
        f"stress test: {counted(len(transforms), 'change')} in {counted(len(variants), 'strength')}, "
        f"{counted(len(paths), 'scan')}"
    )
    found: list[list[Answers]] = [[] for _ in range(len(variants) + 1)]
    total, has_novelty = len(paths) * len(found), False
    with (
        ThreadPoolExecutor(available_cores(), "ctonnx-stress") as pool,
        tqdm(total=total, desc="stress test", unit="image", leave=False, disable=None) as bar,
    ):
        for start in range(0, len(paths), _BATCH):
            chosen = range(start, min(start + _BATCH, len(paths)))
            scans = list(pool.map(load, (source.image(paths[row]) for row in chosen)))
            batches = _changed(pool, model, scans, chosen, variants)
            for answers, (pixels, cautions) in zip(found, batches, strict=True):
                probabilities, novelty = model.predict_pixels(pixels)
                has_novelty |= novelty is not None
                answers.append(answers_of(model, probabilities, novelty, cautions))
                bar.update(len(scans))
    unchanged, *changed = map(_joined, found)
    counts = {
        variant: count_changes(unchanged, answers, evaluation.labels, model.classes)
        for variant, answers in zip(variants, changed, strict=True)
    }
    decided = model.operating_point is not None
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint_sha256": model.checkpoint_sha256,
        "model": model.file_facts,
        "data": {name: evaluation.document["data"][name] for name in ("name", "fingerprint")},
        "split": evaluation.document["data"]["split"],
        "images": len(paths),
        "decided_by": {
            "operating_point": decided,
            "prediction_sets": decided and model.prediction_sets is not None,
            "novelty": decided and model.novelty is not None and has_novelty,
        },
        "decisions": None
        if unchanged.decisions is None
        else {name: int((unchanged.decisions == name).sum()) for name in ("positive", "negative", "refer")},
        "transforms": [
            {
                "name": transform.name,
                "title": transform.title,
                "judged_by": "class_changed"
                if not decided
                else "flipped"
                if transform.is_mistake
                else "decision_changed",
                "strengths": [
                    {
                        "strength": strength,
                        "shown": transform.shown(strength),
                        **counts[_Variant(transform, strength)],
                    }
                    for strength in transform.strengths
                ],
            }
            for transform in transforms
        ],
    }


def _changed(
    pool: ThreadPoolExecutor,
    model: EvaluatedModel,
    scans: Sequence[Scan],
    numbers: Sequence[int],
    variants: Sequence[_Variant],
) -> Iterator[tuple[NDArray[np.uint8], list[str | None]]]:
    """Yields the pixels and warnings of the scans as they are, then of each variant; the next is made meanwhile."""

    def one(variant: _Variant | None, scan: Scan, number: int) -> tuple[NDArray[np.uint8], str | None]:
        if variant is not None:
            scan = Scan(variant.transform.change(scan.image, variant.strength, number), scan.caution)
        pixels = to_pixels(scan, model.preprocessing)
        return pixels, caution_of(scan, pixels, model.preprocessing, model.brightness)

    def start(variant: _Variant | None) -> list[Any]:
        return [pool.submit(one, variant, scan, number) for scan, number in zip(scans, numbers, strict=True)]

    waiting = start(None)
    for variant in (*variants, None):
        running, waiting = waiting, start(variant) if variant else []
        results = [future.result() for future in running]
        yield np.stack([pixels for pixels, _ in results]), [caution for _, caution in results]


def _joined(parts: Sequence[Answers]) -> Answers:
    decisions = [part.decisions for part in parts if part.decisions is not None]
    return Answers(
        predicted=np.concatenate([part.predicted for part in parts]),
        decisions=np.concatenate(decisions) if decisions else None,
    )
