"""The errors: their tree, their exit codes, and pickling."""

import pickle

import pytest

from ctonnx import errors
from ctonnx.errors import CheckFailed, CtonnxError, DataError, ImageError, ModelError, NotEnoughMemory, ProviderError


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (CtonnxError, 2),
        (ImageError, 2),
        (ModelError, 2),
        (ProviderError, 2),
        (NotEnoughMemory, 2),
        (DataError, 2),
        (CheckFailed, 1),
    ],
)
def test_each_kind_has_its_exit_code_and_one_root(kind: type[CtonnxError], exit_code: int) -> None:
    assert kind.exit_code == exit_code
    assert issubclass(kind, CtonnxError)


def test_the_tree_in_the_docstring_names_every_error_with_its_place() -> None:
    lines = [line for line in str(errors.__doc__).splitlines() if line.strip().partition(" ")[0] in errors.__all__]
    assert {line.split()[0]: line.startswith("  ") for line in lines} == {
        name: getattr(errors, name) is not CtonnxError for name in errors.__all__
    }


@pytest.mark.parametrize("kind", [CtonnxError, ModelError, ProviderError, NotEnoughMemory, DataError, CheckFailed])
def test_error_is_pickled_with_its_text(kind: type[CtonnxError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("a sentence")))  # noqa: S301 - the pickle was made on this line
    assert type(copy) is kind
    assert str(copy) == "a sentence"


def test_image_error_has_the_source_before_the_reason() -> None:
    error = ImageError("the file is empty", "scan.png")
    assert str(error) == "scan.png: the file is empty"
    assert (error.reason, error.source) == ("the file is empty", "scan.png")


def test_image_error_is_pickled_with_its_reason_and_source() -> None:
    copy = pickle.loads(pickle.dumps(ImageError("the file is empty", "scan.png")))  # noqa: S301 - see above
    assert isinstance(copy, ImageError)
    assert str(copy) == "scan.png: the file is empty"
    assert (copy.reason, copy.source) == ("the file is empty", "scan.png")
