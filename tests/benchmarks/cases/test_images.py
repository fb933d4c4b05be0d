"""Images to check outputs on: golden inputs, test images of a dataset, and files."""

from dataclasses import replace
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError, DataError, ModelError
from ctonnx_bench.cases.contenders import read_models
from ctonnx_bench.cases.images import golden_images, images_in, labelled_images


def test_golden_inputs_must_exist_and_be_of_the_model(workspace: Path) -> None:
    (model,) = read_models([])
    found = golden_images(model)
    assert (len(found), found.labels.tolist()) == (len(found.pixels), [-1] * len(found))
    with pytest.raises(ModelError, match="expected golden inputs of checkpoint 000000000000 at 64 pixels, found"):
        golden_images(replace(model, spec=replace(model.spec, checkpoint_sha256="0" * 64)))
    (model.path.parent / "golden.npz").unlink()
    with pytest.raises(ModelError, match=r"found none; copy golden.npz .* or name labelled images with --data DIR"):
        golden_images(model)


def test_test_images_of_a_dataset_are_used_and_training_images_calibrate(phantoms: Path, workspace: Path) -> None:
    (model,) = read_models([])
    found = labelled_images(phantoms, model, calibrate=5)
    assert found.about == f"{len(found)} labelled images (test) of {phantoms}"
    assert set(found.labels.tolist()) == {0, 1, 2, 3}
    assert found.pixels.shape == (len(found), 64, 64, 3)
    assert found.calibration is not None
    assert found.calibration.shape == (5, 64, 64, 3)
    assert labelled_images(phantoms, model).calibration is None
    assert found.caveats == ()
    leaky = replace(model, spec=replace(model.spec, data={**model.spec.data, "leaks": {"leaked": {"test": 1}}}))
    (caveat,) = labelled_images(phantoms, leaky).caveats
    assert caveat.startswith("accuracy: of the data that the model was trained on, 1 of ")


def test_files_are_found_and_unreadable_ones_are_reported(phantoms: Path, workspace: Path) -> None:
    (model,) = read_models([])
    found = images_in(str(phantoms / "test"), model)
    assert len(found.files) == len(found)
    assert all(Path(file).is_absolute() for file in found.files)
    Path("scans").mkdir()
    Path("scans/a.png").write_bytes(Path(found.files[0]).read_bytes())
    Path("scans/b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"expected 2 readable images, found 1 that cannot be read: scans/b.png"):
        images_in("scans", model)
    Path("empty").mkdir()
    with pytest.raises(CtonnxError, match="expected images in 'empty', found an empty folder"):
        images_in("empty", model)
