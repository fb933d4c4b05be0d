"""`ctonnx data` as it is typed: output and exit code."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.train.cli.conftest import ctonnx, failed, misused, outcome

from ctonnx_train.audit.audit import audit_data
from ctonnx_train.audit.near_duplicates import HASH_BITS, NEAR_DISTANCE
from ctonnx_train.audit.report import format_audit
from ctonnx_train.cli.data import audit, phantom
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.phantom.patient_set import generate_patients
from ctonnx_train.data.phantom.phantom_set import generate

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

CLEAN = {"train/a": 2, "train/b": 2, "valid/a": 1, "valid/b": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def leaking(images_in: ImagesIn) -> Path:
    """A dataset with a copy of a training image, in another format and class, among its validation images."""
    root = images_in(Path("scans"), CLEAN)
    with Image.open(root / "train/a/scan 0.png") as image:
        image.save(root / "valid/b/copy.bmp")
    return root


def test_clean_dataset_is_a_table_and_exit_code_0(images_in: ImagesIn) -> None:
    root = images_in(Path("scans"), CLEAN)
    result = ctonnx("data", "audit", "scans")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == format_audit(audit_data(read_data(root))) + "\n"
    assert result.stdout.startswith("scans: 6 images\n")
    assert result.stdout.endswith("\nno leak between splits was found\n")


def test_leaking_splits_are_a_table_and_exit_code_1(leaking: Path) -> None:
    result = ctonnx("data", "audit", str(leaking))
    assert (result.exit_code, result.stderr) == (1, "")
    assert "  - train/a/scan 0.png\n    valid/b/copy.bmp\n" in result.stdout
    assert result.stdout.endswith(
        "\nTHE SPLITS LEAK: metrics on them are optimistic\n"
        "train --drop-leaks and evaluate --drop-leaks leave the exact copies out\n"
    )


@pytest.mark.parametrize(("leaks", "code"), [(False, 0), (True, 1)])
def test_json_is_one_document_with_the_same_exit_code(leaks: bool, code: int, leaking: Path) -> None:
    if not leaks:
        (leaking / "valid/b/copy.bmp").unlink()
    result = ctonnx("data", "audit", "scans", "--json")
    assert (result.exit_code, result.stderr) == (code, "")
    document = json.loads(result.stdout)
    assert document == json.loads(json.dumps(audit_data(read_data(leaking)).as_dict()))
    assert document["splits_leak"] is leaks


def test_copies_within_a_split_are_exit_code_0_and_listed_with_all(leaking: Path) -> None:
    (leaking / "valid/b/copy.bmp").rename(leaking / "train/a/copy.bmp")
    short, long = ctonnx("data", "audit", "scans"), ctonnx("data", "audit", "scans", "--all")
    assert (short.exit_code, long.exit_code) == (0, 0)
    assert "exact duplicates (identical pixels): 1 group, 2 files\n" in short.stdout
    assert "copy.bmp" not in short.stdout
    assert "  - train/a/copy.bmp\n    train/a/scan 0.png\n" in long.stdout


@pytest.fixture
def with_shortcut() -> Path:
    """A dataset in which an image's width gives its class away."""
    for position, name in enumerate(("a", "b")):
        for number in range(24):
            pixels = np.random.default_rng([position, number]).integers(0, 256, (40, 40 + 8 * position), dtype=np.uint8)
            folder = Path("scans") / ("valid" if number % 4 == 0 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return Path("scans")


def test_strong_shortcut_is_exit_code_1(with_shortcut: Path) -> None:
    result = ctonnx("data", "audit", str(with_shortcut))
    assert (result.exit_code, result.stderr) == (1, "")
    assert "\nno leak between splits was found\nSTRONG SHORTCUTS: " in result.stdout
    assert "a: narrower, median 40 against 48 pixels" in result.stdout
    document = json.loads(ctonnx("data", "audit", str(with_shortcut), "--json").stdout)
    assert document["shortcuts"]["verdict"] == "strong"
    assert document["shortcuts"]["classes"]["b"]["facts"][0] == "wider, median 48 against 40 pixels"
    assert document["as_seen"] is None


@pytest.fixture(scope="module")
def phantom_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms as `ctonnx data phantom` writes them."""
    root = tmp_path_factory.mktemp("phantoms") / "set"
    assert ctonnx("data", "phantom", str(root), "--per-class", "36", "--size", "96").exit_code == 0
    return root


@pytest.mark.parametrize("words", [[], ["--as-seen"]], ids=["files", "as seen"])
def test_phantoms_have_no_shortcut(words: list[str], phantom_set: Path) -> None:
    result = ctonnx("data", "audit", str(phantom_set), "--json", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)["shortcuts"]
    assert found["verdict"] == "none"
    assert all(of["facts"] == [] for of in found["classes"].values())
    # The AUROC of one class of 36 images scatters by 0.05 around 0.5.
    assert np.mean([of["auroc"] for of in found["classes"].values()]) <= 0.6


def _frame(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).rectangle((0, 0, 95, 95), outline=255)
    return image


@pytest.mark.parametrize(
    ("planted", "ending", "words"),
    [
        (lambda image: image, "jpg", "format JPEG, 100 % against 0 %"),
        (_frame, "png", "brighter border, median 255 against "),
        (lambda image: image.resize((110, 96)), "png", "wider, median 110 against 96 pixels"),
    ],
    ids=["jpeg", "frame", "size"],
)
def test_planted_shortcut_is_found_in_files_and_exit_code_1(
    planted: Callable[[Image.Image], Image.Image], ending: str, words: str, phantom_set: Path
) -> None:
    for split, images in (("train", 9), ("valid", 3)):
        for folder in sorted((phantom_set / split).iterdir())[:2]:
            is_changed = folder.name.startswith("cavitating")
            target = Path("scans", split, folder.name)
            target.mkdir(parents=True)
            for file in sorted(folder.iterdir())[:images]:
                with Image.open(file) as image:
                    changed = planted(image.copy()) if is_changed else image
                    changed.save(target / f"{file.stem}.{ending if is_changed else 'png'}")
    result = ctonnx("data", "audit", "scans", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    of = json.loads(result.stdout)["shortcuts"]["classes"]["cavitating"]
    assert (of["verdict"], of["images"], of["p_value"]) == ("strong", 12, 0.001)
    assert any(fact.startswith(words) for fact in of["facts"]), of["facts"]


def test_audit_as_seen_tests_the_networks_input(with_shortcut: Path) -> None:
    words = [
        "--as-seen",
        "--image-size",
        "64",
        "--crop",
        "body",
        "--resize",
        "stretch",
        "--color",
        "rgb",
        "--intensity",
        "as-is",
    ]
    result = ctonnx("data", "audit", str(with_shortcut), *words)
    assert result.exit_code == 0
    seen = "64 pixels, color rgb, crop body, resize stretch, intensity as-is"
    assert f"what the network sees ({seen}): " in result.stdout
    document = json.loads(ctonnx("data", "audit", str(with_shortcut), *words, "--json").stdout)
    assert document["as_seen"] == {
        "size": 64,
        "color": "rgb",
        "crop": "body",
        "resize": "stretch",
        "intensity": "as-is",
    }
    assert document["shortcuts"]["verdict"] == "none"


@pytest.mark.parametrize(
    "option", ["--crop body", "--image-size 64", "--resize pad", "--color rgb", "--intensity as-is"]
)
def test_preprocessing_without_as_seen_is_wrong_use(option: str, images_in: ImagesIn) -> None:
    images_in(Path("scans"), CLEAN)
    result = ctonnx("data", "audit", "scans", *option.split())
    assert result.exit_code == 2
    assert f"expected {option.split()[0]} together with --as-seen, found it alone" in result.stderr


def test_groups_across_splits_are_exit_code_1(images_in: ImagesIn) -> None:
    images_in(Path("scans"), CLEAN)
    assert ctonnx("data", "audit", "scans", "--group-regex", r"valid/./scan|train/./scan").exit_code == 0
    result = ctonnx("data", "audit", "scans", "--group-regex", r"scan (\d)")
    assert result.exit_code == 1
    assert "\npatients: 2 from --group-regex\n  in several splits: 1\n" in result.stdout
    assert "\n    patient   train   valid    test\n    0             2       2       0\n" in result.stdout
    assert "  files that leak from an earlier split: valid 0, test 0\n" in result.stdout
    document = json.loads(ctonnx("data", "audit", "scans", "--group-regex", r"scan (\d)", "--json").stdout)
    assert (document["grouped"], document["groups_across_splits"]) == (2, {"0": {"train": 2, "valid": 2}})


def test_near_distance_reaches_the_audit(images_in: ImagesIn) -> None:
    images_in(Path("scans"), {"train/a": 1, "train/b": 1, "valid/a": 1})
    with Image.open("scans/train/a/scan 0.png") as image:
        pixels = np.array(image)
    pixels[:3] = 255
    Image.fromarray(pixels).save("scans/valid/a/marked.png")
    strict, wide = (ctonnx("data", "audit", "scans", "--near-distance", bits) for bits in ("0", "64"))
    assert (strict.exit_code, wide.exit_code) == (0, 1)
    assert "at most 64 of 256 bits): 1 group, 2 files\n  across splits: 1 group\n" in wide.stdout


def test_default_near_distance_is_the_librarys() -> None:
    option = next(parameter for parameter in audit.params if parameter.name == "near_distance")
    assert option.default == NEAR_DISTANCE
    assert f"number of bits of {HASH_BITS} by" in str(option.to_info_dict()["help"])


def test_defaults_of_the_phantoms_are_the_librarys() -> None:
    defaults = {parameter.name: parameter.default for parameter in phantom.params if parameter.name != "out"}
    of_library = (generate.__kwdefaults__ or {}) | (generate_patients.__kwdefaults__ or {})
    assert {name: value for name, value in defaults.items() if name != "patients"} == {
        name: value for name, value in of_library.items() if name != "progress"
    }


def test_class_name_reaches_the_audit(images_in: ImagesIn) -> None:
    images_in(Path("scans"), CLEAN | {"valid/C": 1})
    assert ctonnx("data", "audit", "scans").exit_code == 2
    result = ctonnx("data", "audit", "scans", "--class-name", "C=b")
    assert result.exit_code == 0
    assert "\n'C' is read as 'b'\n" in result.stdout


def test_unreadable_files_are_listed_and_are_exit_code_1(images_in: ImagesIn) -> None:
    images_in(Path("scans"), CLEAN)
    Path("scans/valid/a/scan 0.png").write_bytes(b"")
    result = ctonnx("data", "audit", "scans")
    assert result.exit_code == 1
    assert "\nunreadable: 1\n  valid/a/scan 0.png: the file is empty (0 bytes)\n" in result.stdout


def test_medmnist_file_is_audited() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    labels = np.array([[0], [1], [0], [1]], np.uint8)
    np.savez("set.npz", train_images=images, train_labels=labels, val_images=images[3:], val_labels=labels[3:])
    result = ctonnx("data", "audit", "set.npz", "--class-name", "0=left kidney")
    assert result.exit_code == 1
    assert result.stdout.startswith("set.npz: 5 images\n")
    assert "\n'0' is read as 'left kidney'\n" in result.stdout
    assert "  - train_images/3\n    val_images/0\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nowhere",), "expected a data folder or a MedMNIST .npz file at 'nowhere', found nothing; check the path"),
        (
            ("scans", "--group-regex", "("),
            "expected a regular expression for --group-regex, found '(' "
            "(missing ), unterminated subpattern at position 0)",
        ),
        (
            ("text",),
            f"expected images in the class folder '{Path('text/a')}', found 1 other file ('1.txt' first); "
            "convert them to PNG, or move the folder out of the dataset",
        ),
        (
            ("one",),
            "expected two or more class folders with images in 'one', found 'a'; "
            "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png",
        ),
    ],
)
def test_a_folder_that_is_not_a_dataset_ends_in_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], error: str, images_in: ImagesIn
) -> None:
    images_in(Path("scans"), CLEAN)
    images_in(Path("one"), {"a": 2})
    Path("text/a").mkdir(parents=True)
    Path("text/a/1.txt").touch()
    result = ctonnx("data", "audit", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {error}\n")


def test_data_phantom_draws_a_dataset_and_prints_the_next_command(folder: Path) -> None:
    result = ctonnx("data", "phantom", "phantoms", "--per-class", "3", "--size", "64", "--seed", "2")
    expected = "12 synthetic phantoms in phantoms: next, ctonnx train phantoms --weights none\n"
    assert outcome(result) == (0, expected, "")
    assert len(list((folder / "phantoms").rglob("*.png"))) == 12
    marker = json.loads((folder / "phantoms" / "phantom.json").read_text(encoding="utf-8"))
    assert {name: marker[name] for name in ("per_class", "seed", "size")} == {"per_class": 3, "seed": 2, "size": 64}


@pytest.mark.parametrize(("image_format", "images"), [("png", 8), ("dicom", 14)])
def test_data_phantom_draws_patients_and_prints_the_next_command(image_format: str, images: int, folder: Path) -> None:
    words = ("--patients", "4", "--slices", "2", "--format", image_format, "--size", "64")
    expected = (
        f"{images} synthetic phantoms of 4 patients in patients: "
        f"next, ctonnx train --labels {Path('patients/labels.csv')} --weights none\n"
    )
    assert outcome(ctonnx("data", "phantom", "patients", *words)) == (0, expected, "")
    marker = json.loads((folder / "patients" / "phantom.json").read_text(encoding="utf-8"))
    assert (marker["patients"], marker["slices"], marker["format"]) == (4, 2, image_format)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--slices", "8"), "expected --slices together with --patients, found it alone"),
        (("--format", "dicom"), "expected --format together with --patients, found it alone"),
        (("--patients", "4", "--per-class", "5"), "expected --per-class or --patients, found both; leave one out"),
    ],
)
def test_data_phantom_rejects_options_of_the_other_kind_of_set(
    words: tuple[str, ...], message: str, folder: Path
) -> None:
    assert misused("ctonnx data phantom [OPTIONS] OUT", message, ctonnx("data", "phantom", "phantoms", *words))
    assert list(folder.iterdir()) == []


def test_data_phantom_leaves_a_folder_with_something_in_it_alone(scans: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = ctonnx("data", "phantom", scans, "--per-class", "3", "--size", "64")
    assert outcome(result) == failed(
        'expected "scans" to be new or an empty folder, found "test" in it; choose another folder'
    )
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--per-class", "2", "2 is not in the range x>=3."),
        ("--patients", "3", "3 is not in the range x>=4."),
        ("--slices", "1", "1 is not in the range 2<=x<=2000."),
        ("--size", "63", "63 is not in the range 64<=x<=4096."),
        ("--seed", "-1", "-1 is not in the range x>=0."),
    ],
)
def test_data_phantom_rejects_a_number_out_of_range(option: str, value: str, message: str, folder: Path) -> None:
    result = ctonnx("data", "phantom", "phantoms", option, value)
    assert misused("ctonnx data phantom [OPTIONS] OUT", f"Invalid value for '{option}': {message}", result)
    assert list(folder.iterdir()) == []


def test_leftovers_of_a_killed_phantom_command_are_removed(folder: Path, leave_behind: Callable[[Path], Path]) -> None:
    left = leave_behind(folder / "one")
    result = ctonnx("data", "phantom", "two", "--per-class", "3", "--size", "64")
    assert result.exit_code == 0, result.output
    assert f"removed 1 temporary file or folder of a killed process from '{folder}': '{left.name}'\n" in result.stderr
    assert not left.exists()
