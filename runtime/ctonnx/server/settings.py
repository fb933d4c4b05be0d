"""Settings of the server: limits of a request, queue and batches of the model, access."""

import re
from dataclasses import dataclass, field

__all__ = ["Limits", "Settings"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")  # a part of an address


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a request.

    Attributes:
        body_bytes: Size of the body.
        body_seconds: Time from the request's head to the end of its body.
        pixels: Size of an image, width times height; all images of a request may have four times as many together.
        files: Files of a request, frames of a DICOM file, images of a tensor.
        seconds: Time from the end of the body to the result.
    """

    body_bytes: int = 64 << 20
    body_seconds: float = 30.0
    pixels: int = 64_000_000
    files: int = 64
    seconds: float = 30.0

    @property
    def request_pixels(self) -> int:
        """Pixels of all images of a request together, not counting those being decoded when it is reached."""
        return 4 * self.pixels

    def __post_init__(self) -> None:
        for name in ("body_bytes", "body_seconds", "pixels", "files", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, found {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server.

    Attributes:
        limits: Limits of each request.
        queue: Maximum number of images in progress, over all requests; further requests are rejected with 503.
        max_batch: Maximum number of images in a batch of the model.
        max_delay: Seconds that a batch that is not full waits for more images while another one is computed.
        key: API key that requests must send; None accepts all requests.
        origins: Origins of other sites' pages that may read responses (CORS); `*` is any.
        model_name: Name of the model in addresses and responses; None is the name of its file without `.onnx`.
    """

    limits: Limits = field(default_factory=Limits)
    queue: int = 128
    max_batch: int = 4
    max_delay: float = 0.0
    key: str | None = None
    origins: tuple[str, ...] = ()
    model_name: str | None = None

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_delay < 0:
            found = f"{self.max_batch}, {self.max_delay}"
            raise ValueError(f"expected max_batch from 1 and max_delay from 0, found {found}")
        if self.queue < self.limits.files:
            expected = f"expected a queue of at least the {self.limits.files} images of one request"
            raise ValueError(f"{expected}, found {self.queue}")
        if self.key is not None and (not self.key or not self.key.isascii() or not self.key.isprintable()):
            raise ValueError("expected a key of printable ASCII characters")
        if self.model_name is not None and not _NAME.fullmatch(self.model_name):
            raise ValueError(
                f"expected a model name of letters, digits, '.', '_' and '-', at most 253, found {self.model_name!r}"
            )
