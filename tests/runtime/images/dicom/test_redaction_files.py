"""Errors, warnings and logs of reading a file contain no patient data."""

import logging
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from ctonnx.errors import ImageError
from ctonnx.images import load

pytest.importorskip("pydicom", reason="pydicom is not installed")

from tests.runtime.images.dicom.dicom_files import LUNG, PATIENT, encoded, make


def broken_values() -> list[bytes]:
    """Returns files whose elements violate the standard, with the patient's name in their values."""
    good = encoded(make(PatientName=PATIENT, RescaleIntercept="-1024"))
    return [
        good.replace(b"-1024", b"PETER"),
        good.replace(b"PN", b"XX"),
        good.replace(b"PN", b"DS").replace(b"LO", b"IS"),
        good.replace(b"1.2.840.10008.5.1.4.1.1.2", b"GEHEIM^PETER^AND^HIS^NAME"),
        good.replace(b"MONOCHROME2", b"GEHEIMPETER"),
        good.replace(b"CS\x0c\0MONO", b"UI\x0c\0MONO"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_no_patient_data_is_reported(
    number: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    traced = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            load(broken_values()[number])
        except ImageError as error:
            traced = "".join(traceback.format_exception(error))
    out, err = capfd.readouterr()
    reported = " ".join([traced, out, err, caplog.text, *(str(warning.message) for warning in warned)])
    assert "GEHEIM" not in reported
    assert "PETER" not in reported
    assert not logging.getLogger("pydicom").disabled


def test_threads_leave_the_warning_filters_unchanged() -> None:
    data = [encoded(make()), *broken_values()]
    before = list(warnings.filters)

    def read(number: int) -> bytes | str:
        try:
            return load(data[number % len(data)]).image.tobytes()
        except ImageError as error:
            return error.reason

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(20 * len(data))))
    assert found[:: len(data)] == [LUNG.tobytes()] * 20
    assert found[: len(data)] * 20 == found
    kept = [entry for entry in warnings.filters if "pydicom" not in str(entry[3])]
    assert kept == [entry for entry in before if "pydicom" not in str(entry[3])]


def test_pydicom_still_logs_for_other_callers(caplog: pytest.LogCaptureFixture) -> None:
    load(encoded(make()))
    logging.getLogger("pydicom").warning("of another")
    assert "of another" in caplog.text
