"""Made predictions of the slices of patients: a lesion in some slices of half of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample

CLASSES = ("normal", "tumor")
POSITIVE = ("tumor",)


class Made(NamedTuple):
    """Predictions of slices: probabilities [slices, classes], labels and patients [slices]."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: list[str]

    @property
    def samples(self) -> list[Sample]:
        return [Sample(f"{name}/{row}.png", int(self.labels[row])) for row, name in enumerate(self.names)]

    @property
    def numbers(self) -> list[int]:
        """Number of each slice's patient."""
        return [int(name[1:]) for name in self.names]

    def patients(self, **subgroups: list[str]) -> Patients:
        """The patients, with the values of subgroups, one for each patient."""
        paths = [sample.path for sample in self.samples]
        return Patients(
            origin="--group-regex",
            names=dict(zip(paths, self.names, strict=True)),
            subgroups={
                name: {path: values[number] for path, number in zip(paths, self.numbers, strict=True)}
                for name, values in subgroups.items()
            },
        )


def made(patients: int, slices: int, *, signal: float = 3.0, seed: int = 0) -> Made:
    """Every second patient has a lesion in the first of its slices, one to three of them."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(patients, slices)) + 0.3 * random.normal(size=(patients, 1))
    labels = np.zeros((patients, slices), np.int64)
    for ill in range(1, patients, 2):
        labels[ill, : random.integers(1, min(3, slices) + 1)] = 1
    scores = expit(logits + signal * labels - signal / 2).ravel()
    names = [f"p{patient}" for patient in range(patients) for _ in range(slices)]
    return Made(np.stack([1 - scores, scores], axis=1), labels.ravel(), names)
