"""Weight files are read by their content, whatever their name; other files are named, and no objects are unpickled."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ctonnx.errors import DataError
from ctonnx_train.network.weight_files import read_weights

STATE = {"conv1.weight": torch.arange(6.0)}


def found_in(file: Path) -> str:
    """Returns the part of the error message after "found"."""
    with pytest.raises(DataError) as caught:
        read_weights(file)
    before = f"expected weights (.safetensors, .pth, .pt, .bin or .ckpt) in '{file}', found "
    assert str(caught.value).startswith(before)
    return str(caught.value).removeprefix(before)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w", "w.safetensors"])
@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_content_and_not_the_name_decides(
    write: Callable[[dict[str, Tensor], Path], None], name: str, tmp_path: Path
) -> None:
    write(STATE, tmp_path / name)
    content = read_weights(tmp_path / name)
    assert isinstance(content, dict)
    assert torch.equal(content["conv1.weight"], STATE["conv1.weight"])


def test_file_of_the_older_format_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert isinstance(read_weights(tmp_path / "w.pth"), dict)


def test_pickled_model_is_not_loaded_and_the_error_names_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    assert found_in(tmp_path / "model.pth") == (
        "objects that are not unpickled ('torch.nn.modules.linear.Linear'); save only its state_dict() and pass that"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "another or a damaged file"),
        (b"\x80\x02\x8a\nl\xfc", "another or a damaged file"),
        (b"<html>404</html>", "a web page; download the file itself"),
        (b"\n<!DOCTYPE html>", "a web page; download the file itself"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it; pass a PyTorch file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a Git LFS pointer; fetch the file itself: git lfs pull",
        ),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_other_file_is_named(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert found_in(tmp_path / name) == what


def test_other_zip_files_and_torchscript_archives_are_distinguished(tmp_path: Path) -> None:
    for name, inside in (("a.zip", "readme.txt"), ("script.pt", "model/code/__torch__.py")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, "")
    assert found_in(tmp_path / "a.zip") == "another or a damaged file"
    assert found_in(tmp_path / "script.pt") == "a TorchScript archive; save its state_dict() and pass that"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_weights(tmp_path / "none.pth")
    assert str(caught.value) == (
        f"expected --weights imagenet, none or a file, found no file at '{tmp_path / 'none.pth'}'"
    )
