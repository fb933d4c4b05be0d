"""An audit: facts about the files, copies in any format, near duplicates, and whether the splits leak."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.train.conftest import CHEST_CT

from ctonnx.errors import DataError
from ctonnx.images import load
from ctonnx_train.audit.audit import Audit, Copy, audit_data
from ctonnx_train.audit.near_duplicates import HASH_BITS, NEAR_DISTANCE
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.leakage import Leaks


def scan(seed: int, size: int = 96) -> Image.Image:
    """Returns a grey image of soft blots, different for each seed and as smooth as a scan, so that it survives JPEG."""
    blots = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return Image.fromarray(blots).resize((size, size), Image.Resampling.BICUBIC)


def saved(root: Path, images: Mapping[str, Image.Image]) -> Path:
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return root


def clean(root: Path) -> Path:
    """Writes six different scans."""
    names = ("train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png", "valid/a/5.png", "valid/b/6.png")
    return saved(root, {name: scan(number) for number, name in enumerate(names)})


def audited(root: Path, **options: Any) -> Audit:
    return audit_data(read_data(root), **options)


def paths(groups: Any) -> list[list[str]]:
    return [[copy.path for copy in group] for group in groups]


def test_dataset_without_copies_does_not_leak(tmp_path: Path) -> None:
    audit = audited(clean(tmp_path))
    assert audit == Audit(
        root=str(tmp_path),
        images=6,
        folder_classes={"a": "a", "b": "b"},
        counts={"train": {"a": 2, "b": 2}, "valid": {"a": 1, "b": 1}, "test": {"a": 0, "b": 0}},
        widths=(96, 96, 96),
        heights=(96, 96, 96),
        modes={"L": 6},
        formats={"PNG": 6},
        passed_over=0,
        unreadable={},
        exact=[],
        near=[],
        near_distance=NEAR_DISTANCE,
        near_across_splits=0,
        near_with_several_labels=0,
        leaks=Leaks(
            groups=0,
            files=0,
            groups_across_splits=0,
            files_across_splits=0,
            groups_with_several_labels=0,
            files_with_several_labels=0,
            leaked={"valid": 0, "test": 0},
            dropped={},
        ),
        shortcuts={
            "verdict": "untested",
            "classes": {name: {"verdict": "untested", "images": 3, "facts": []} for name in ("a", "b")},
            "images": 6,
            "groups": 6,
            "permutations": 999,
        },
    )
    assert not audit.splits_leak


def test_sizes_modes_and_formats_are_those_of_the_files(tmp_path: Path) -> None:
    deep = Image.fromarray((np.asarray(scan(9)).astype(np.uint16)) * 257)
    saved(
        tmp_path,
        {
            "train/Bengin cases/1.png": scan(1, 64).convert("RGBA"),
            "train/Bengin cases/2.jpg": scan(2, 200).resize((200, 80)),
            "train/normal/3.png": deep,
            "train/normal/4.gif": scan(4),
            "valid/normal/5.jpeg": scan(5).convert("RGB"),
        },
    )
    (tmp_path / "train/normal/notes.txt").touch()
    audit = audited(tmp_path)
    assert audit.notes == ("skipped: 1 other file ('train/normal/notes.txt' first)",)
    assert audit.folder_classes == {"Bengin cases": "benign", "normal": "normal"}
    assert (audit.widths, audit.heights) == ((64, 96, 200), (64, 96, 96))
    assert audit.modes == {"L": 2, "RGBA": 1, "I;16": 1, "RGB": 1}
    assert next(iter(audit.modes)) == "L"  # the most frequent one is first
    assert audit.formats == {"PNG": 2, "JPEG": 2, "GIF": 1}
    assert (audit.images, audit.passed_over) == (5, 1)


def test_dicom_is_audited_next_to_other_formats_and_without_a_suffix(tmp_path: Path, dicom_file: bytes) -> None:
    saved(tmp_path, {"train/a/1.png": scan(1), "train/b/2.png": scan(2)})
    for name in ("train/a/scan.dcm", "train/b/IM0001"):
        (tmp_path / name).write_bytes(dicom_file)
    audit = audited(tmp_path)
    assert (audit.unreadable, audit.formats) == ({}, {"DICOM": 2, "PNG": 2})
    assert paths(audit.exact) == [["train/a/scan.dcm", "train/b/IM0001"]]


def test_every_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_data(clean(tmp_path))
    opened: list[str] = []
    open_file = os.open

    def counting(name: Any, *arguments: Any, **options: Any) -> int:
        opened.append(os.fspath(name))
        return open_file(name, *arguments, **options)

    monkeypatch.setattr("os.open", counting)
    monkeypatch.setattr("PIL.Image.builtins.open", None)  # Pillow would open a path with it
    assert audit_data(data).unreadable == {}
    assert sorted(opened) == sorted(str(tmp_path / sample.path) for sample in data.samples)


def test_unreadable_files_are_named_with_the_reason_and_the_others_are_audited(tmp_path: Path) -> None:
    clean(tmp_path)
    whole = (tmp_path / "valid/a/5.png").read_bytes()
    (tmp_path / "train/a/1.png").write_bytes(b"")
    (tmp_path / "train/b/3.png").write_text("not an image", encoding="utf-8")
    (tmp_path / "valid/b/cut.png").write_bytes(whole[: len(whole) // 2])
    saved(tmp_path, {"train/b/copy.png": scan(5)})
    audit = audited(tmp_path)
    assert list(audit.unreadable) == ["train/a/1.png", "train/b/3.png", "valid/b/cut.png"]
    assert audit.unreadable["train/a/1.png"] == "the file is empty (0 bytes)"
    assert audit.unreadable["train/b/3.png"] == "not an image in a format that can be read, but a text file"
    assert audit.unreadable["valid/b/cut.png"].startswith("damaged image: ")
    assert (audit.images, audit.modes) == (8, {"L": 5})
    assert paths(audit.exact) == [["train/b/copy.png", "valid/b/6.png"]]
    assert audit.splits_leak


def test_dataset_with_only_unreadable_files_is_audited(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    audit = audited(tmp_path)
    assert (audit.images, len(audit.unreadable), audit.widths, audit.near) == (2, 2, (0, 0, 0), [])
    assert not audit.splits_leak


def test_copies_in_other_formats_and_modes_are_exact_and_not_near_duplicates(tmp_path: Path) -> None:
    clean(tmp_path)
    saved(tmp_path, {"train/a/1 copy.bmp": scan(0), "train/a/1 in colour.tif": scan(0).convert("RGB")})
    audit = audited(tmp_path)
    assert audit.exact == [
        [
            Copy("train/a/1 copy.bmp", "train", "a"),
            Copy("train/a/1 in colour.tif", "train", "a"),
            Copy("train/a/1.png", "train", "a"),
        ]
    ]
    assert (audit.near, audit.leaks.files, audit.leaks.groups_across_splits) == ([], 3, 0)
    assert not audit.splits_leak


def test_exact_copy_in_another_split_with_another_label_is_counted_as_both(tmp_path: Path) -> None:
    saved(clean(tmp_path), {"valid/b/copy.bmp": scan(0)})
    audit = audited(tmp_path)
    assert audit.exact == [[Copy("train/a/1.png", "train", "a"), Copy("valid/b/copy.bmp", "valid", "b")]]
    assert (audit.leaks.groups_across_splits, audit.leaks.groups_with_several_labels) == (1, 1)
    assert audit.leaks.leaked == {"valid": 1, "test": 0}
    assert audit.splits_leak


def as_jpeg(image: Image.Image, file: Path) -> None:
    image.save(file.with_suffix(".jpg"), quality=60)


def smaller(image: Image.Image, file: Path) -> None:
    image.resize((60, 60), Image.Resampling.BILINEAR).save(file)


def drawn_upon(image: Image.Image, file: Path) -> None:
    marked = image.convert("RGB")
    ImageDraw.Draw(marked).line((20, 20, 30, 30), fill=(255, 0, 0), width=2)
    marked.save(file)


@pytest.mark.parametrize("change", [as_jpeg, smaller, drawn_upon])
def test_recompressed_scaled_or_drawn_upon_scan_is_a_near_duplicate(
    change: Callable[[Image.Image, Path], None], tmp_path: Path
) -> None:
    clean(tmp_path)
    change(scan(0), tmp_path / "valid" / "a" / "changed.png")
    audit = audited(tmp_path)
    assert [[(copy.path[:8], copy.split) for copy in group] for group in audit.near] == [
        [("train/a/", "train"), ("valid/a/", "valid")]
    ]
    assert (audit.exact, audit.near_across_splits, audit.near_with_several_labels) == ([], 1, 0)
    assert audit.splits_leak
    assert not any(audit.leaks.leaked.values())


def test_near_duplicates_within_a_split_do_not_make_it_leak(tmp_path: Path) -> None:
    clean(tmp_path)
    as_jpeg(scan(0), tmp_path / "train" / "b" / "changed.jpg")
    audit = audited(tmp_path)
    assert paths(audit.near) == [["train/a/1.png", "train/b/changed.jpg"]]
    assert (audit.near_across_splits, audit.near_with_several_labels) == (0, 1)
    assert not audit.splits_leak


def test_near_distance_is_the_largest_difference_of_the_hashes(tmp_path: Path) -> None:
    clean(tmp_path)
    drawn_upon(scan(0), tmp_path / "valid" / "a" / "changed.png")
    marked = load(tmp_path / "valid" / "a" / "changed.png").image
    apart = imagehash.phash(scan(0), hash_size=16) - imagehash.phash(marked, hash_size=16)
    assert 0 < apart <= NEAR_DISTANCE
    assert [len(audited(tmp_path, near_distance=distance).near) for distance in (apart - 1, apart)] == [0, 1]
    assert audited(tmp_path, near_distance=3).near_distance == 3
    everything = audited(tmp_path, near_distance=HASH_BITS)
    assert [len(group) for group in everything.near] == [7]


def test_group_of_near_duplicates_includes_their_exact_copies(tmp_path: Path) -> None:
    saved(clean(tmp_path), {"train/a/copy.png": scan(0)})
    as_jpeg(scan(0), tmp_path / "train" / "a" / "changed.jpg")
    audit = audited(tmp_path)
    assert paths(audit.exact) == [["train/a/1.png", "train/a/copy.png"]]
    assert paths(audit.near) == [["train/a/1.png", "train/a/changed.jpg", "train/a/copy.png"]]


def test_patients_in_several_splits_leak_without_a_copy(tmp_path: Path) -> None:
    names = ("train/a/p1_1.png", "train/b/p2_1.png", "valid/a/p1_2.png", "valid/b/p3_1.png")
    saved(tmp_path, {name: scan(number) for number, name in enumerate(names)})
    assert not audited(tmp_path).splits_leak
    audit = audited(tmp_path, group_regex=r"p(\d)_")
    assert (audit.leaks.leaked, audit.exact, audit.near) == ({"valid": 0, "test": 0}, [], [])
    assert (audit.grouped, audit.groups_across_splits) == (3, {"1": {"train": 1, "valid": 1}})
    assert audit.splits_leak
    assert json.loads(json.dumps(audit.as_dict()))["groups_across_splits"] == {"1": {"train": 1, "valid": 1}}
    with pytest.raises(DataError, match=r"^expected --group-regex 'case' to match paths such as 'train/a/p1_1\.png'"):
        audited(tmp_path, group_regex="case")


def test_npz_file_is_audited_and_pairs_far_apart_in_it_are_found(tmp_path: Path) -> None:
    """More rows than the blocks of 1,024 in which the hashes are compared."""
    images = np.random.default_rng(0).integers(0, 256, (1040, 28, 28), dtype=np.uint8)
    images[1035] = images[1]
    images[1036] = images[2]
    images[1036, 14, 14] ^= 32
    labels = np.arange(1040)[:, None] % 2
    train, valid = slice(None, 1000), slice(1000, None)
    np.savez(
        tmp_path / "set.npz",
        train_images=images[train],
        train_labels=labels[train],
        val_images=images[valid],
        val_labels=labels[valid],
    )
    audit = audited(tmp_path / "set.npz")
    assert (audit.images, audit.modes, audit.formats) == (1040, {"L": 1040}, {"array": 1040})
    assert audit.exact == [[Copy("train_images/1", "train", "1"), Copy("val_images/35", "valid", "1")]]
    assert audit.near == [[Copy("train_images/2", "train", "0"), Copy("val_images/36", "valid", "0")]]


def test_progress_is_reported_after_each_image(tmp_path: Path) -> None:
    steps: list[int] = []
    clean(tmp_path)
    (tmp_path / "train/a/1.png").write_bytes(b"")
    audited(tmp_path, progress=steps.append)
    assert steps == [1] * 6


def test_audit_is_a_json_document(tmp_path: Path) -> None:
    saved(clean(tmp_path), {"valid/b/copy.bmp": scan(0)})
    audit = audited(tmp_path)
    document = json.loads(json.dumps(audit.as_dict()))
    assert document["exact"] == [
        [
            {"path": "train/a/1.png", "split": "train", "label": "a"},
            {"path": "valid/b/copy.bmp", "split": "valid", "label": "b"},
        ]
    ]
    assert document["leaks"] == json.loads(json.dumps(asdict(audit.leaks)))
    assert (document["hash_bits"], document["near_distance"], document["splits_leak"]) == (256, 16, True)
    assert (document["images"], document["widths"], document["modes"]) == (7, [96, 96, 96], {"L": 7})


def test_phantoms_have_no_near_duplicates(phantoms: Path) -> None:
    audit = audited(phantoms)
    assert (audit.images, audit.unreadable, audit.exact, audit.near) == (32, {}, [], [])
    assert not audit.splits_leak


@pytest.mark.skipif(not CHEST_CT.is_dir(), reason=f"the public chest CT set is not at {CHEST_CT}")
def test_public_chest_ct_set_has_its_known_copies() -> None:
    audit = audited(CHEST_CT)
    assert (audit.images, audit.unreadable) == (685, {})
    assert (audit.leaks.groups, audit.leaks.groups_across_splits, audit.leaks.files_across_splits) == (59, 8, 44)
    assert audit.leaks.groups_with_several_labels == 1
    conflicting = [group for group in audit.exact if len({copy.label for copy in group}) > 1]
    assert [[copy.label for copy in group] for group in conflicting] == [
        ["large cell carcinoma", "squamous cell carcinoma"]
    ]
    assert audit.splits_leak
