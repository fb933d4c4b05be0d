"""The models of a family: different files that classify the same images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ModelError
from ctonnx.images.preprocessing import DicomWindow
from ctonnx_bench.benchmark.family import members
from ctonnx_bench.benchmark.family.members import members_of, read_family, titles_of
from ctonnx_bench.cases.contenders import Model, read_files


def test_files_folders_and_runs_are_models_each_once_in_their_order(family: list[Path]) -> None:
    names = [family[1], Path("runs/tiny"), Path("runs/tiny-half"), family[2], Path("runs/tiny/export").resolve()]
    assert [model.path for model in read_family(names)] == [family[1], family[0], family[2]]


def test_one_model_is_no_family(workspace: Path) -> None:
    with pytest.raises(ModelError) as raised:
        read_family([Path("runs/tiny"), Path("runs/tiny/export/model.fp32.onnx")])
    assert str(raised.value) == (
        "expected two or more models for --family, found 'runs/tiny/export/model.fp32.onnx' only; name more files or "
        "runs, such as those that ctonnx export and ctonnx compress made"
    )


def test_missing_file_is_an_error(workspace: Path) -> None:
    with pytest.raises(ModelError, match=r"'none\.onnx'"):
        read_family([Path("runs/tiny"), Path("none.onnx")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda spec: replace(spec, classes=(*spec.classes[1:], spec.classes[0]), operating_point=None),
            "expected models with the classes ",
        ),
        (
            lambda spec: replace(spec, preprocessing=replace(spec.preprocessing, size=96)),
            "expected models for images of 64 pixels, as 'runs/tiny/export/model.fp32.onnx', found 96 pixels in "
            "'runs/tiny-half/export/model.fp32.onnx'; a family classifies the same images",
        ),
        (
            lambda spec: replace(spec, preprocessing=replace(spec.preprocessing, crop="body")),
            "expected models with Preprocessing(",
        ),
        (
            lambda spec: replace(spec, dicom_window=DicomWindow(center=40.0, width=80.0)),
            "expected models with DicomWindow(",
        ),
    ],
    ids=["classes", "size", "crop", "window"],
)
def test_models_for_other_images_are_rejected(
    family: list[Path], change: Callable[[ModelSpec], ModelSpec], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, half = read_files(family)
    changed = [*others, replace(half, spec=change(half.spec))]
    monkeypatch.setattr(members, "read_files", lambda names: changed)
    with pytest.raises(ModelError) as raised:
        read_family(family)
    assert str(raised.value).startswith(message)


def test_models_are_named_by_run_and_precision(family: list[Path]) -> None:
    fp32, learned, half = read_files(family)
    assert titles_of([fp32, learned]) == ["FP32", "INT8"]
    assert titles_of([fp32, learned, half]) == ["tiny FP32", "tiny INT8", "tiny-half FP32"]
    amx = replace(learned, spec=replace(learned.spec, quantization={"target": "amx"}))
    assert titles_of([fp32, amx]) == ["FP32", "INT8 for amx"]


def test_models_that_would_have_one_name_are_distinguished_by_their_paths(family: list[Path]) -> None:
    (fp32,) = read_files(family[:1])

    def titles(*paths: str) -> list[str]:
        return titles_of([replace(fp32, path=Path(path)) for path in paths])

    assert titles("a/export/model.onnx", "a/learned/model.onnx") == ["FP32 (export)", "FP32 (learned)"]
    assert titles("a/export/model.onnx", "b/export/model.onnx") == ["FP32 (a/export)", "FP32 (b/export)"]
    assert titles("a/one.onnx", "a/two.onnx") == ["FP32 (one.onnx)", "FP32 (two.onnx)"]


def test_labels_are_the_names_and_must_be_one_for_each_model(family: list[Path]) -> None:
    models: list[Model] = read_files(family)
    assert [member.title for member in members_of(models, ["FP32", "INT8", "half"])] == ["FP32", "INT8", "half"]
    assert [member.size for member in members_of(models)] == [model.path.stat().st_size for model in models]
    for labels, shown in ((["a", "b"], "'a', 'b'"), (["a", "b", "b"], "'a', 'b', 'b'")):
        with pytest.raises(ModelError) as raised:
            members_of(models, labels)
        assert str(raised.value) == (
            f"expected 3 different names for --names, found {shown}; the models are, in this order: "
            "'runs/tiny/export/model.fp32.onnx', 'runs/tiny/export-learned/model.int8.onnx', "
            "'runs/tiny-half/export/model.fp32.onnx'"
        )
