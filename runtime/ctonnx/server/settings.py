"""What a server is told: limits of a request, the queue before the model, who may ask."""

from dataclasses import dataclass, field

__all__ = ["Limits", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may ask for.

    Attributes:
        body_bytes: of a body.
        body_seconds: from a request's first line to the end of its body.
        pixels: of an image, width times height; those of a request may have four times as many together.
        files: in a request; frames in a DICOM file; images in a tensor.
        seconds: from the end of the body to the answer.
    """

    body_bytes: int = 64 << 20
    body_seconds: float = 30.0
    pixels: int = 64_000_000
    files: int = 64
    seconds: float = 30.0

    @property
    def request_pixels(self) -> int:
        """How many pixels the images of a request may have together, but for those that are decoded at that time."""
        return 4 * self.pixels

    def __post_init__(self) -> None:
        for name in ("body_bytes", "body_seconds", "pixels", "files", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, found {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How requests are answered.

    Attributes:
        limits: of each request.
        queue: Images that may be under way at a time, over all requests; more are answered with 503.
        max_batch: Images that the model is given at a time.
        max_delay: Seconds that a batch which is not full waits for more images while another one is computed.
        key: that requests must bring; None lets everybody in.
        origins: of pages elsewhere that browsers may let ask (CORS); `*` is any.
    """

    limits: Limits = field(default_factory=Limits)
    queue: int = 128
    max_batch: int = 4
    max_delay: float = 0.0
    key: str | None = None
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_delay < 0:
            raise ValueError(
                f"expected max_batch from 1 and max_delay from 0, found {self.max_batch}, {self.max_delay}"
            )
        if self.queue < self.limits.files:
            raise ValueError(
                f"expected a queue with room for the {self.limits.files} images of one request, found {self.queue}"
            )
        if self.key is not None and (not self.key or not self.key.isascii() or not self.key.isprintable()):
            raise ValueError("expected a key of printable ASCII characters")
