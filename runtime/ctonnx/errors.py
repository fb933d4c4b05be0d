"""Everything that ctonnx raises on purpose, and the exit code that each kind ends a command with.

CtonnxError             wrong use or wrong input: exit code 2
  ImageError            a file that cannot be turned into pixels (in a batch: a record, not an exception)
  ModelError            a file that is not a whole ctonnx model, or none where one was looked for
  ProviderError         an execution provider that this machine or this onnxruntime does not have
  NotEnoughMemory       this process has too little memory, or may start too few threads, to go on
  DataError             a data set, starting weights or a run's name that training cannot use
  CheckFailed           everything ran, and a check said no (a parity gate): exit code 1

A message says what was expected, what was found (quoted), and what to do next.
"""

__all__ = ["CheckFailed", "CtonnxError", "DataError", "ImageError", "ModelError", "NotEnoughMemory", "ProviderError"]


class CtonnxError(Exception):
    """The root of all errors that ctonnx raises on purpose."""

    exit_code = 2


class ImageError(CtonnxError):
    """A file, or an object in memory, cannot be turned into pixels.

    Attributes:
        reason: what is wrong, without the source.
        source: The path, or what kind of object it was.
    """

    def __init__(self, reason: str, source: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.reason = reason
        self.source = source

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return type(self), (self.reason, self.source)


class ModelError(CtonnxError):
    """A model is missing, damaged, or does not say how it must be used."""


class ProviderError(CtonnxError):
    """The execution provider that was asked for cannot run here."""


class NotEnoughMemory(CtonnxError):
    """This process has too little memory, or may start too few threads, for what it was asked to do."""


class DataError(CtonnxError):
    """A data set, or what else training was given, cannot be used as it stands."""


class CheckFailed(CtonnxError):
    """Everything ran, and the result did not pass its check."""

    exit_code = 1
