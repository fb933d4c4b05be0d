"""Temperature scaling, fitted on the validation images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

__all__ = ["LEAST_WITHOUT_LEAKS", "fit_temperature", "negative_log_likelihood"]

LEAST_WITHOUT_LEAKS = 10
"""Minimum number of suspicious images, and of others, that did not leak for a temperature that is fitted on them alone.

A few images are all predicted correctly, and then have no temperature: it would stay 1 however overconfident the
network is. Leaked ones show part of it.
"""

_TEMPERATURES = (0.05, 20.0)


def negative_log_likelihood(
    logits: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    temperature: float,
    weights: NDArray[np.floating[Any]] | None = None,
) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats; `logits` are undivided, [images, classes].

    `weights`, [images], are those of the images in the mean; None counts each once.
    """
    chosen = log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(labels)), labels]
    return -float(chosen.mean() if weights is None else np.average(chosen, weights=weights))


def fit_temperature(
    logits: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    weights: NDArray[np.floating[Any]] | None = None,
) -> float:
    """Returns the temperature of logits [images, classes] at which the labels are most likely.

    It is between 0.05 and 20, to four decimals; 1 if the likelihood grows towards one of these bounds, as it does if
    every prediction is correct and the images are too few to fit a temperature. `weights` are as above.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    found = minimize_scalar(
        lambda exponent: negative_log_likelihood(logits, labels, float(np.exp(exponent)), weights),
        bounds=np.log(_TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-5},
    )
    least_at_bounds = min(negative_log_likelihood(logits, labels, bound, weights) for bound in _TEMPERATURES)
    return round(float(np.exp(found.x)), 4) if found.fun < least_at_bounds else 1.0
