"""The errors that ctonnx raises on purpose, each with the exit code of its command.

CtonnxError             wrong usage or invalid input: exit code 2
  ImageError            an image that cannot be converted to pixels (in a batch: a record, not an exception)
  ModelError            a model that is missing, damaged or not made by ctonnx
    SignatureError      a model that a trusted key did not sign, or that is not as it was signed
  ProviderError         an execution provider that cannot run on this machine
  NotEnoughMemory       too little memory, or too few threads allowed, for this process
  DataError             a dataset, pretrained weights or a run name that training cannot use
  CheckFailed           everything ran, and a check failed (a parity gate): exit code 1

A message has three parts: what was expected, what was found (quoted), and what to do next.
"""

__all__ = [
    "CheckFailed",
    "CtonnxError",
    "DataError",
    "ImageError",
    "ModelError",
    "NotEnoughMemory",
    "ProviderError",
    "SignatureError",
]


class CtonnxError(Exception):
    """Base class of all errors that ctonnx raises on purpose."""

    exit_code = 2


class ImageError(CtonnxError):
    """The `source`, a path or a kind of object in memory, cannot be converted to pixels for a `reason`."""

    def __init__(self, reason: str, source: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.reason = reason
        self.source = source

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return type(self), (self.reason, self.source)


class ModelError(CtonnxError):
    """A model is missing, damaged, or has no valid spec."""


class SignatureError(ModelError):
    """A model's folder is not signed by a trusted key, or is not as it was signed."""


class ProviderError(CtonnxError):
    """The requested execution provider cannot run on this machine."""


class NotEnoughMemory(CtonnxError):
    """This process has too little memory, or may start too few threads, for the task."""


class DataError(CtonnxError):
    """A dataset, or another input of training, cannot be used."""


class CheckFailed(CtonnxError):
    """Everything ran, and the result failed its check."""

    exit_code = 1
