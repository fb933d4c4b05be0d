"""The PyTorch original of an export: a run's network, or its folds' networks together."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError, ModelError
from ctonnx_export.graph.deploy_graph import DeployGraph, EnsembleGraph
from ctonnx_train.data.splits import SPLITS
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint

__all__ = ["MOST_NETWORKS", "Original", "load_ensemble", "original_of"]

MOST_NETWORKS = 10
"""Most networks of an ensemble: with more, the INT8 graph has more nodes than the runtime opens."""


@dataclass(frozen=True, kw_only=True)
class Original:
    """The PyTorch module that the models of an export are compared with.

    Attributes:
        graph: PyTorch module with the outputs of the models.
        sha256: SHA-256 of the weight file, or of those of several networks, one after the other in hexadecimal digits.
        temperature: Divisor of the logits; 1 for an ensemble, whose logits are divided already.
        metrics: Metrics on the evaluated splits, as in run.json.
        networks: Number of networks.
    """

    graph: DeployGraph | EnsembleGraph
    sha256: str
    temperature: float
    metrics: Mapping[str, Any]
    networks: int = 1


def original_of(checkpoint: Checkpoint) -> Original:
    """Returns the network of a run."""
    record = checkpoint.record
    return Original(
        graph=DeployGraph(checkpoint.network, record.temperature, checkpoint.novelty),
        sha256=checkpoint.sha256,
        temperature=record.temperature,
        metrics=record.metrics,
    )


def load_ensemble(checkpoint: Checkpoint) -> Original:
    """Returns the networks of the folds of a run.

    Their temperature is the run's, which was fitted on the predictions of all of them, each for its own fold. So were
    the operating point, the prediction sets and the novelty threshold, which are those of the run. The metrics on
    `valid` are those of the single networks, on `test` those of their mean.

    Raises:
        DataError: If the run was not trained in folds, or in too many.
        ModelError: If a fold's network is missing or damaged, or of other images than the run, or if metrics that the
            export shows are.
    """
    run, record = checkpoint.run, checkpoint.record
    count = record.data.get("folds")
    if not count:
        raise DataError(
            f"expected a run that was trained in folds for an ensemble, found '{run.folder}' with one network; train "
            "with --folds 5, or export without --ensemble"
        )
    if count > MOST_NETWORKS:
        raise DataError(
            f"expected {MOST_NETWORKS} networks or fewer for an ensemble, found {count} in '{run.folder}'; train with "
            "fewer --folds, or export without --ensemble"
        )
    metrics = {"valid": record.metrics["valid"], **(record.ensemble_metrics or {})}
    replace(record, metrics=metrics).require_metrics()
    images = set(checkpoint.samples("train"))
    members: list[DeployGraph] = []
    digest = hashlib.sha256()
    for number in range(1, count + 1):
        fold = load_checkpoint(Run(run.folder / "folds" / str(number)))
        own = {sample for split in SPLITS for sample in fold.samples(split)}
        if own != images or fold.record.classes != record.classes:
            raise ModelError(
                f"expected the fold in '{fold.run.folder}' to have the images and classes of '{run.folder}', found "
                "others: it belongs to another run; train again"
            )
        members.append(DeployGraph(fold.network, record.temperature, fold.novelty))
        digest.update(fold.sha256.encode())
    return Original(
        graph=EnsembleGraph(members),
        sha256=digest.hexdigest(),
        temperature=1.0,
        metrics=metrics,
        networks=count,
    )
