"""Settings of `ctonnx compress`, and the shares of the multiplications that are left after each of its steps."""

from dataclasses import dataclass

__all__ = ["CompressSettings"]


@dataclass(frozen=True, kw_only=True)
class CompressSettings:
    """Settings of a compression.

    Attributes:
        operations: Share of the parent's multiplications that is left at the end, above 0 and below 1.
        steps: Number of steps, each of which removes channels and then trains.
        epochs: Number of training epochs, over all steps; the last one has three quarters of all, or more.
        batch_size: Images per step; None is that of the parent's training.
        max_drop: Maximum loss of accuracy, 0 to 1.
        min_agreement: Minimum top-1 agreement with the parent, 0 to 1.
    """

    operations: float = 0.5
    steps: int = 4
    epochs: int = 48
    batch_size: int | None = None
    max_drop: float = 0.02
    min_agreement: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.operations < 1:
            raise ValueError(f"expected operations above 0 and below 1, found {self.operations!r}")
        if self.steps < 1:
            raise ValueError(f"expected 1 step or more, found {self.steps!r}")
        if self.epochs < self.steps:
            raise ValueError(f"expected an epoch for each of {self.steps} steps or more, found {self.epochs!r}")
        if self.batch_size is not None and self.batch_size < 2:
            raise ValueError(f"expected batch_size of 2 or more, found {self.batch_size!r}")
        for name in ("max_drop", "min_agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} of 0 to 1, found {getattr(self, name)!r}")

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the parent's multiplications that is left after each step: the same ratio in each.

        >>> [round(share, 2) for share in CompressSettings(operations=0.5, steps=4).shares]
        [0.84, 0.71, 0.59, 0.5]
        """
        return tuple(self.operations ** (number / self.steps) for number in range(1, self.steps + 1))

    @property
    def epochs_of_steps(self) -> tuple[int, ...]:
        """Number of training epochs after each step.

        >>> CompressSettings(steps=4, epochs=48).epochs_of_steps
        (4, 4, 4, 36)
        >>> CompressSettings(steps=2, epochs=2).epochs_of_steps
        (1, 1)
        """
        early = 0 if self.steps == 1 else max(1, self.epochs // (4 * (self.steps - 1)))
        return (*(early,) * (self.steps - 1), self.epochs - early * (self.steps - 1))
