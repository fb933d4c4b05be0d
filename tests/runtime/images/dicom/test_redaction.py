"""Exceptions become an error without patient data."""

import pytest

from ctonnx.errors import ImageError
from ctonnx.images.dicom.header import Fault
from ctonnx.images.dicom.redaction import redacting


@pytest.mark.parametrize(
    ("raised", "reason"), [(ValueError("GEHEIM"), "its pixels cannot be read"), (Fault("its end"), "its end")]
)
def test_error_contains_only_the_reason(raised: Exception, reason: str) -> None:
    def read() -> None:
        raise raised

    with pytest.raises(ImageError) as caught:
        redacting("scan", read, lambda: "its pixels cannot be read")
    assert str(caught.value) == f"scan: damaged DICOM file: {reason}"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_memory_error_is_not_reported_as_damage() -> None:
    def read() -> None:
        raise MemoryError("GEHEIM")

    with pytest.raises(MemoryError) as caught:
        redacting("scan", read, lambda: "its pixels cannot be read")
    assert (str(caught.value), caught.value.__context__) == ("", None)
