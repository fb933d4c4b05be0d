"""The 95 % interval of a share: the one that all reports state."""

import math

__all__ = ["NORMAL_QUANTILE", "share_interval"]

NORMAL_QUANTILE = 1.959963984540054
"""97.5 % quantile of the normal distribution, for 95 % intervals."""


def share_interval(share: float, images: float) -> tuple[float, float]:
    """Returns the 95 % score interval of a share of independent images.

    Where images of a group are alike, `images` is their effective number, which need not be whole.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953

    >>> [round(end, 3) for end in share_interval(0.9, 10)]
    [0.596, 0.982]
    """
    square = NORMAL_QUANTILE**2
    middle = share + square / (2 * images)
    spread = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / images + square / (4 * images**2))
    low, high = ((middle + side) / (1 + square / images) for side in (-spread, spread))
    # For shares of 0 and 1 one end is exact; the sums above may miss it by a rounding error.
    return max(0.0, low) if share > 0 else 0.0, min(1.0, high) if share < 1 else 1.0
