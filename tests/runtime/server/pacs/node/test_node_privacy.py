"""Nothing that the node writes has a value of a patient, but for the DICOM files themselves."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from pydicom import dcmread
from tests.runtime.server.pacs.builders import ct_image
from tests.runtime.server.pacs.node_process import eventually, running_node, send_files

SERIES, OF_SERIES, DAMAGED = 20, 9, 20
"""Numbers of series, of their instances, and of damaged instances: 200 objects."""

MARKS = ("ZQMARK", "19231117", "20310519", "987654.321", "2.25.777000777")
"""Parts of a name, a birth date, the dates of the study, a number, and all UIDs."""


def marked(folder: Path) -> list[list[Path]]:
    folder.mkdir()
    found = []
    for number in range(SERIES + 1):
        study, series, files = f"2.25.777000777{number}", f"2.25.777000777{number}.5", []
        for one in range(1, (DAMAGED if number == SERIES else OF_SERIES) + 1):
            image = ct_image(study, series, one)
            image.PatientName, image.PatientID = f"ZQMARK^Name{number}", f"ZQMARKID{number}"
            image.PatientBirthDate, image.AccessionNumber = "19231117", "987654.321"
            image.StudyDate = image.SeriesDate = image.ContentDate = image.AcquisitionDate = "20310519"
            image.PatientAddress = image.ReferringPhysicianName = image.InstitutionName = "ZQMARK"
            image.StudyDescription = image.SeriesDescription = image.ProtocolName = image.StationName = "ZQMARK"
            image.ConvolutionKernel = image.Manufacturer = image.ManufacturerModelName = "ZQMARK"
            if number == SERIES:
                damage(image, one)
            files.append(folder / f"{number}-{one}.dcm")
            image.save_as(files[-1], enforce_file_format=True)
        found.append(files)
    return found


def damage(image: Any, number: int) -> None:
    """Makes an image that cannot be predicted, or not be taken, in one of several ways."""
    image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{number}"
    match number % 5:
        case 0:
            image.PixelData = b"\0\0"
        case 1:
            del image.SeriesInstanceUID
        case 2:
            image.PhotometricInterpretation = "ZQMARK"
        case 3:
            image.Rows = 0
        case 4:
            image.ImageOrientationPatient, image.Modality = [0, 0, 1, 0, 1, 0], "ZQMARK"


def test_no_value_of_a_patient_is_in_anything_that_the_node_writes(tmp_path: Path, model: Path) -> None:
    groups = marked(tmp_path / "scans")
    silent = "GONE@127.0.0.1:9"
    with running_node(tmp_path / "node", model, "--send-to", silent, "--http", "127.0.0.1:0") as node:
        statuses = [status for files in groups for status in send_files(node.port, files)]
        assert len(statuses) == 200
        assert set(statuses) == {0, 0xC000}
        assert send_files(node.port, groups[0][:1]) == [0]  # again
        assert eventually(lambda: f"{SERIES} predicted" in node.ask("status"), 120), node.ask("status")
        assert eventually(lambda: " 0 failed" not in node.ask("status"), 60)
        assert eventually(lambda: json.loads(answer(node.text, "healthz"))["waiting_series"] == 0, 120)
        assert eventually(lambda: "it cannot be reached" in node.ask("status"))
        pages = "".join(answer(node.text, name) for name in ("", "healthz", "metrics"))
        written = {"status": node.ask("status"), "json": node.ask("status", "--json"), "pages": pages}
        written |= everything(tmp_path / "node")
        node.end()
    written |= {"log": node.text, "audit": node.ask("audit")} | {
        f"{name} at the end": text for name, text in everything(tmp_path / "node").items()
    }
    assert "queue.sqlite-wal" in written  # read while the node ran
    assert len(written["audit"].splitlines()) > 200
    assert re.search(r"\d images?, no result: ", written["log"])
    assert re.search(r"\d images?, left out: \d ", written["log"])
    assert {(name, mark) for name, text in written.items() for mark in MARKS if mark in text} == set()
    (spooled, *_) = (tmp_path / "node/series").glob("*/*.dcm")
    assert str(dcmread(spooled).PatientName).startswith("ZQMARK")  # and what was received is as it came


def answer(log: str, path: str) -> str:
    url = log.partition("page: ")[2].split()[0]
    with urllib.request.urlopen(f"{url}/{path}", timeout=10) as found:  # noqa: S310 - a loopback address
        return str(found.read().decode())


def everything(folder: Path) -> dict[str, str]:
    """Returns the contents of all files of a node but DICOM files, and the names of all of them."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    found = {file.name: file.read_bytes().decode("latin-1") for file in files if file.suffix != ".dcm"}
    return found | {"names": "\n".join(str(file.relative_to(folder)) for file in folder.rglob("*"))}
