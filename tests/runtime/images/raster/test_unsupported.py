"""Files that users pass instead of a scan are described, with advice."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images import load
from ctonnx.images.formats import is_image
from ctonnx.images.raster.unsupported import describe_file
from ctonnx.prediction.inputs import find_images

SLICES = "; save its slices as PNG, TIFF or DICOM files"
UNPACK = "; unpack it and name the folder"
CONVERT = "; convert it to PNG or TIFF"
AGAIN = "; name image files, or download the image again if this was downloaded instead"
PDF = "a PDF document; save its images as PNG files"


def nifti(mark: bytes = b"n+1\0") -> bytes:
    return (348).to_bytes(4, "little") + bytes(340) + mark + bytes(4) + bytes(64 * 64)


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("scan.png")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    return file.getvalue()


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


GREY = np.zeros((8, 8), np.uint16)
FOREIGN: dict[str, tuple[bytes, str]] = {
    "NIfTI": (nifti(), f"a NIfTI volume{SLICES}"),
    "NIfTI, big-endian": ((348).to_bytes(4, "big") + nifti()[4:], f"a NIfTI volume{SLICES}"),
    "NIfTI header": (nifti(b"ni1\0"), f"the header of a NIfTI volume{SLICES}"),
    "NIfTI-2": ((540).to_bytes(4, "little") + b"n+2\0\r\n\x1a\n" + bytes(600), f"a NIfTI-2 volume{SLICES}"),
    "Analyze": (
        (348).to_bytes(4, "little") + bytes(34) + b"r" + bytes(400),
        f"the header of an Analyze volume{SLICES}",
    ),
    "NIfTI in gzip": (gzip.compress(nifti()), f"a NIfTI volume, compressed with gzip{SLICES}"),
    "tar in gzip": (gzip.compress(tar()), f"a tar archive, compressed with gzip{UNPACK}"),
    "gzip": (gzip.compress(b"abc"), "a file compressed with gzip; unpack it (gunzip) and use the extracted file"),
    "gzip, cut off": (b"\x1f\x8b\x08\0", "a file compressed with gzip; unpack it (gunzip) and use the extracted file"),
    "zip": (zipped("scans/a.png"), f"a zip archive{UNPACK}"),
    "empty zip": (b"PK\5\6" + bytes(18), "an empty zip archive; name the images"),
    "NumPy archive": (
        saved(lambda file: np.savez(file, a=GREY)),
        "a NumPy archive (.npz); save its images as PNG or TIFF files",
    ),
    "Office": (zipped("[Content_Types].xml"), "an Office document; save its images as PNG files"),
    "checkpoint": (zipped("model/data.pkl"), "a PyTorch checkpoint; name image files"),
    "NumPy": (
        saved(lambda file: np.save(file, GREY)),
        "a NumPy array; save its images as PNG or TIFF files, or pass the array to ctonnx.Predictor",
    ),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", f"a 7z archive{UNPACK}"),
    "RAR": (b"Rar!\x1a\7\1\0", f"a RAR archive{UNPACK}"),
    "tar": (tar(), f"a tar archive{UNPACK}"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(90), f"an HDF5 file{SLICES}"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128), f"a MATLAB file{SLICES}"),
    "netCDF": (b"CDF\1" + bytes(60), f"a netCDF or MINC file{SLICES}"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer, not the file itself; run: git lfs pull",
    ),
    "git-annex": (
        b"/annex/objects/SHA256E-s1--a.png\n",
        "a git-annex pointer, not the file itself; run: git annex get",
    ),
    "NRRD": (b"NRRD0004\ntype: short\n", f"an NRRD volume{SLICES}"),
    "MetaImage": (b"ObjectType = Image\nNDims = 3\n", f"the header of a MetaImage volume{SLICES}"),
    "MetaImage, turned round": (
        b"Comment = a\nNDims = 3\nElementDataFile = a.raw\n",
        f"the header of a MetaImage volume{SLICES}",
    ),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), f"a HEIC (HEIF) photo{CONVERT}"),
    "HEIC of another main brand": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(60), f"a HEIC (HEIF) photo{CONVERT}"),
    "raw photo": (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom" + bytes(60), f"a camera's raw photo (CR3){CONVERT}"),
    "MP4": (
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(60),
        "a video (MP4 or QuickTime); save its frames as PNG files",
    ),
    "AVI": (b"RIFF\0\0\0\0AVI LIST" + bytes(60), "a video or a sound (RIFF); save its frames as PNG files"),
    "Matroska": (b"\x1a\x45\xdf\xa3" + bytes(60), "a Matroska or WebM video; save its frames as PNG files"),
    "JPEG XL": (bytes(imagecodecs.jpegxl_encode(GREY)), f"a JPEG XL image{CONVERT}"),
    "JPEG XL in a file": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), f"a JPEG XL image{CONVERT}"),
    "JPEG-LS": (bytes(imagecodecs.jpegls_encode(GREY)), f"a JPEG-LS image of 16 bits{CONVERT}"),
    "12-bit JPEG": (bytes(imagecodecs.jpeg8_encode(GREY, bitspersample=12)), f"a JPEG image of 12 bits{CONVERT}"),
    "lossless JPEG": (
        bytes(imagecodecs.jpeg8_encode(GREY, lossless=True, bitspersample=16)),
        f"a lossless JPEG image of 16 bits{CONVERT}",
    ),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", PDF),
    "PDF after an empty line": (b"\r\n%PDF-1.7\n%\xe2\xe3", PDF),
    "PDF after a byte order mark": (b"\xef\xbb\xbf%PDF-1.4\n1 0 obj\n", PDF),
    "PDF after a byte order mark of UTF-16": (b"\xff\xfe%PDF-1.4\n%\xe2\xe3", PDF),
    "PDF of text alone, after headers": (b"Content-Type: application/pdf\r\n\r\n%PDF-1.4\n1 0 obj\n", PDF),
    "PDF after a printer's command": (b"\x1b%-12345X@PJL ENTER LANGUAGE=PDF%PDF-1.4\n%\xe2\xe3", PDF),
    "PDF at the last place": (bytes(1019) + b"%PDF-1.4\n%\xe2\xe3", PDF),
    "text that tells of PDF": (b"The mark of a document is %PDF-1.7\n", "a text file"),
    "Photoshop": (b"8BPS\0\1" + bytes(60), f"a Photoshop file{CONVERT}"),
    "PAM": (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0\0", f"a PAM image{CONVERT}"),
    "PFM of colours": (b"PF\n1 1\n-1\n" + bytes(12), f"a PFM image of three colours{CONVERT}"),
    "AppleDouble": (
        b"\0\5\x16\7\0\2\0\0" + bytes(60),
        "macOS metadata of a file, not the file itself; name the file without '._'",
    ),
    "HTML": (
        b"\n<!DOCTYPE html><title>404</title>",
        f"an HTML page{AGAIN}",
    ),
    "HTML with a byte order mark": (
        b"\xef\xbb\xbf<html>",
        f"an HTML page{AGAIN}",
    ),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", f"an SVG drawing{CONVERT}"),
    "XML": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        f"an XML document{AGAIN}",
    ),
    "JSON": (
        json.dumps({"error": "not found"}).encode(),
        f"a JSON document{AGAIN}",
    ),
    "text": (b"patient,age\n", "a text file"),
    "text whose last letter is cut in two": ("é".encode() * 2000, "a text file"),
    "one odd letter": (b"a" + "é".encode() * 2000, "a text file"),
    "zeros": (bytes(4096), "zero bytes, as an interrupted copy leaves them; copy the file again"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_file_is_described(kind: str, tmp_path: Path) -> None:
    data, expected = FOREIGN[kind]
    file = tmp_path / "scan.png"
    file.write_bytes(data)
    sources: list[Path | bytes] = [file, data]
    for source in sources:
        with pytest.raises(ImageError) as caught:
            load(source)
        assert caught.value.reason == f"not an image in a format that can be read, but {expected}"
    assert not is_image(file)


def test_gzip_bomb_is_not_inflated() -> None:
    assert describe_file(io.BytesIO(gzip.compress(bytes(50_000_000)))) == (
        "a file compressed with gzip; unpack it (gunzip) and use the extracted file"
    )


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "TGA", "PCX", "ICO"])
def test_image_is_not_described(file_format: str) -> None:
    data = saved(lambda file: Image.new("L", (16, 16), 9).save(file, file_format))
    assert describe_file(io.BytesIO(data)) is None
    assert load(data).size == (16, 16)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"noise\xff\xfe\0", bytes(3)])
def test_unknown_file_is_not_described(data: bytes) -> None:
    assert describe_file(io.BytesIO(data)) is None


def test_folder_of_foreign_files_is_reported_with_advice(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("notes", encoding="utf-8")
    (tmp_path / "b.nii").write_bytes(nifti())
    with pytest.raises(CtonnxError) as caught:
        find_images([str(tmp_path)])
    assert str(caught.value) == (
        f"expected images in '{tmp_path}', found 2 other files ('{tmp_path / 'b.nii'}': a NIfTI volume{SLICES}); "
        "name a folder with PNG, JPEG or TIFF files"
    )


def test_images_that_quote_a_document_are_not_described() -> None:
    for begin in (b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", bytes(128) + b"DICM"):
        assert describe_file(io.BytesIO(begin + bytes(8) + b"\n%PDF-1.7\n%\xe2\xe3")) is None


@pytest.mark.parametrize(
    ("name", "data", "what"), [("a.json", b'{"a": 1}', "a JSON document"), ("a.xml", b"<a/>", "an XML document")]
)
def test_advice_suits_a_document_in_the_folder(name: str, data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CtonnxError) as caught:
        find_images([str(tmp_path)])
    assert f"('{tmp_path / name}': {what}{AGAIN})" in str(caught.value)
