"""Settings of a compression: rejected values, shares and epochs of the steps."""

from typing import Any

import pytest

from ctonnx_compress.settings import CompressSettings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"operations": 0.0}, "expected operations above 0 and below 1, found 0.0"),
        ({"operations": 1.0}, "expected operations above 0 and below 1, found 1.0"),
        ({"steps": 0}, "expected 1 step or more, found 0"),
        ({"steps": 4, "epochs": 3}, "expected an epoch for each of 4 steps or more, found 3"),
        ({"batch_size": 1}, "expected batch_size of 2 or more, found 1"),
        ({"max_drop": -0.1}, "expected max_drop of 0 to 1, found -0.1"),
        ({"min_agreement": 1.1}, "expected min_agreement of 0 to 1, found 1.1"),
    ],
)
def test_values_outside_their_range_are_rejected(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CompressSettings(**changed)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (1, 9), (2, 3), (3, 3), (4, 24), (5, 31)])
def test_steps_share_the_epochs_and_end_at_the_requested_operations(steps: int, epochs: int) -> None:
    settings = CompressSettings(operations=0.4, steps=steps, epochs=epochs)
    assert sum(settings.epochs_of_steps) == epochs
    assert min(settings.epochs_of_steps) >= 1
    assert settings.epochs_of_steps[-1] >= 3 * epochs / 4 or epochs < 4 * steps
    assert len(settings.shares) == steps
    assert list(settings.shares) == sorted(settings.shares, reverse=True)
    assert settings.shares[-1] == pytest.approx(0.4)
