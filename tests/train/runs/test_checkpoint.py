"""A run on disk: what is written is read again, damage is reported, and the folder is a run only when complete."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tests.killing import states_at_each_rename
from tests.train.runs.conftest import DIGESTS, RECORD, SPLITS

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def network() -> CTClassifier:
    torch.manual_seed(0)
    network = CTClassifier(2)
    with torch.no_grad():
        network(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))  # moves the batch normalization's statistics
    return network


@pytest.fixture(scope="module")
def saved(network: CTClassifier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of two classes; tests that change it use a copy."""
    run = Run(tmp_path_factory.mktemp("runs") / "saved")
    run.folder.mkdir()
    save_checkpoint(run, network, RECORD, SPLITS, DIGESTS)
    yield run
    run.weights_file.unlink()


@pytest.fixture
def copied(saved: Run, tmp_path: Path) -> Run:
    """A copy of the saved run; its weights are a link."""
    run = Run(tmp_path / "copy")
    run.folder.mkdir()
    run.weights_file.symlink_to(saved.weights_file)
    for file in (saved.record_file, saved.splits_file):
        (run.folder / file.name).write_bytes(file.read_bytes())
    return run


def rejected(run: Run, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_checkpoint(run)


def test_a_checkpoint_is_read_as_it_was_written(saved: Run, network: CTClassifier) -> None:
    checkpoint = load_checkpoint(saved)
    digest = hashlib.sha256(saved.weights_file.read_bytes()).hexdigest()
    assert checkpoint.record == replace(RECORD, weights_sha256=digest)
    assert checkpoint.run == saved
    assert checkpoint.sha256 == digest
    assert {split: checkpoint.samples(split) for split in SPLITS} == SPLITS
    assert [checkpoint.digests(split) for split in SPLITS] == [{"aa", "bb"}, {"aa"}, set()]
    pixels = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(checkpoint.network(pixels), network(pixels), rtol=0, atol=0)
    assert not checkpoint.network.training


def test_the_same_network_is_written_as_the_same_bytes_whatever_its_memory_format(
    saved: Run, network: CTClassifier, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    network.to(memory_format=torch.channels_last)
    save_checkpoint(run, network, RECORD, SPLITS, DIGESTS)
    assert run.weights_file.read_bytes() == saved.weights_file.read_bytes()
    run.weights_file.unlink()


def test_a_run_contains_weights_a_record_and_splits(saved: Run) -> None:
    assert sorted(file.name for file in saved.folder.iterdir()) == ["model.safetensors", "run.json", "splits.json"]
    assert saved.has_checkpoint
    assert saved.created == RECORD.created
    assert {tensor.dtype for tensor in load_file(saved.weights_file).values()} == {torch.float32, torch.int64}
    assert json.loads(saved.record_file.read_text(encoding="utf-8"))["classes"] == ["adenocarcinoma", "Lungenödem"]


def test_folder_without_a_record_is_not_a_run(copied: Run) -> None:
    copied.record_file.unlink()
    rejected(
        copied,
        f"expected a run's record in '{copied.record_file}', found no such file; train again",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{}", "expected a whole number at 'schema_version', found nothing"),
        ('{"schema_version": 1}', "expected a text at 'created', found nothing"),
        ('{"schema_version": 3}', "the run was trained by a newer ctonnx"),
        (
            RECORD.to_json().replace('"size": 64', '"size": 7'),
            "size must be a whole number from 32 to 4096 pixels, found 7",
        ),
        (
            RECORD.to_json().replace('"synthetic"', '"other"'),
            "expected true or false at 'synthetic', found nothing",
        ),
    ],
)
def test_a_damaged_record_is_rejected(text: str, found: str, copied: Run) -> None:
    copied.record_file.write_text(text, encoding="utf-8")
    rejected(copied, f"expected a run's record in '{copied.record_file}', found something else ({found}); train again")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', '{"schema_version": null}', '{"schema_version": "1"}'])
def test_json_that_is_not_a_record_is_rejected(text: str, copied: Run) -> None:
    copied.record_file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=f"^expected a run's record in '{re.escape(str(copied.record_file))}', found "):
        load_checkpoint(copied)


def test_truncated_weights_are_rejected(saved: Run, copied: Run) -> None:
    copied.weights_file.unlink()
    with saved.weights_file.open("rb") as whole:
        copied.weights_file.write_bytes(whole.read(100_000))
    copied.record_file.write_text(RECORD.to_json(), encoding="utf-8")  # from an earlier release, without a digest
    with pytest.raises(
        ModelError,
        match="^"
        + re.escape(
            f"expected the weights of a 2-class ctonnx network in '{copied.weights_file}', found another or a damaged "
            "file (Error while deserializing header: "
        )
        + r"[a-z ,]+\); train again$",
    ):
        load_checkpoint(copied)


def test_weights_of_another_training_are_rejected(saved: Run, copied: Run) -> None:
    record = json.loads(copied.record_file.read_text(encoding="utf-8"))
    copied.record_file.write_text(json.dumps({**record, "weights_sha256": "ab" * 32}), encoding="utf-8")
    digest = hashlib.sha256(saved.weights_file.read_bytes()).hexdigest()
    rejected(
        copied,
        f"expected the weights that '{copied.record_file}' was written with (SHA-256 abababababab), found others in "
        f"'{copied.weights_file}' ({digest[:12]}), from another training or damaged; copy both files again from one "
        "run, or train again",
    )


def test_run_of_an_earlier_release_whose_record_has_no_digest_is_read(saved: Run, copied: Run) -> None:
    copied.record_file.write_text(RECORD.to_json(), encoding="utf-8")
    assert load_checkpoint(copied).sha256 == load_checkpoint(saved).sha256


def test_class_in_the_splits_that_the_model_does_not_have_is_reported(copied: Run) -> None:
    copied.splits_file.write_text('{"train": [["a.png", 2]], "valid": [], "test": []}', encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(copied).samples("train")
    assert str(caught.value) == (
        f"expected the run's splits in '{copied.splits_file}', found 'a.png' of class 2, but the model has 2 "
        "classes; train again"
    )


@pytest.mark.usefixtures("small_backbone")
def test_at_every_moment_of_a_save_the_earlier_or_the_later_run_is_complete(tmp_path: Path) -> None:
    """A process may be killed then. Reports belong to the record next to them, or are missing."""
    networks = [CTClassifier(2).eval() for _ in range(2)]
    run = Run(tmp_path / "run")
    run.folder.mkdir()

    def save(number: int) -> None:
        def report(folder: Path) -> None:
            (folder / "evaluation" / "valid").mkdir(parents=True)
            for name in ("evaluation/valid/report.md", "curves.png"):
                (folder / name).write_text(f"epochs {number}", encoding="utf-8")

        record = replace(RECORD, training={"epochs": number}, novelty=THRESHOLD)
        save_checkpoint(run, networks[number], record, SPLITS, DIGESTS, report, novelty=novelty(number))

    save(0)
    (run.evaluation_folder / "notes.txt").touch()  # a user's file, which is kept
    with states_at_each_rename(run.folder, tmp_path / "states") as states:
        save(1)
    seen = set()
    for state in [*(Run(folder) for folder in states), run]:
        checkpoint = load_checkpoint(state)
        number = checkpoint.record.training["epochs"]
        weights, expected = checkpoint.network.state_dict(), networks[number].state_dict()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
        assert checkpoint.sha256 == checkpoint.record.weights_sha256
        assert checkpoint.novelty is not None
        distance, expected = checkpoint.novelty.state_dict(), novelty(number).state_dict()
        assert all(torch.equal(distance[name], expected[name]) for name in expected)
        reports = [state.evaluation_folder / "valid/report.md", state.folder / "curves.png"]
        assert {file.read_text(encoding="utf-8") for file in reports if file.exists()} <= {f"epochs {number}"}
        assert {split: checkpoint.samples(split) for split in SPLITS} == SPLITS
        seen.add((number, state.next_weights_file.exists(), len([file for file in reports if file.exists()])))
    assert {(0, True, 2), (0, True, 0), (1, True, 0), (1, False, 0), (1, False, 2)} <= seen
    assert sorted(file.name for file in run.folder.iterdir()) == [
        *("curves.png", "evaluation", "model.safetensors", "novelty.safetensors", "run.json", "splits.json")
    ]
    assert (run.evaluation_folder / "notes.txt").exists()


@pytest.mark.usefixtures("small_backbone")
def test_reports_that_cannot_be_written_leave_the_earlier_run_as_it_was(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "curves.png").write_text("new", encoding="utf-8")
        raise OSError("No space left on device")

    run = Run(tmp_path)
    save_checkpoint(run, CTClassifier(2), RECORD, SPLITS, DIGESTS)
    (tmp_path / "curves.png").write_text("old", encoding="utf-8")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(run, CTClassifier(2), replace(RECORD, synthetic=False), SPLITS, DIGESTS, fail)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_missing_weights_are_rejected(copied: Run) -> None:
    copied.weights_file.unlink()
    rejected(
        copied,
        f"expected the weights of a 2-class ctonnx network in '{copied.weights_file}', found another or a damaged file "
        "(no such file); train again",
    )


def test_weights_of_another_number_of_classes_are_rejected_with_the_difference(copied: Run) -> None:
    three = replace(RECORD, classes=(*RECORD.classes, "normal"))
    copied.record_file.write_text(three.to_json(), encoding="utf-8")
    expected = (
        f"expected the weights of a 3-class ctonnx network in '{copied.weights_file}', found another or a damaged"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(expected)}.*; train again$") as caught:
        load_checkpoint(copied)
    assert "head.dense3.weight" in str(caught.value)
    assert "[2, 128]" in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"train": [["a.png"]]}', '{"train": 1}'])
def test_missing_and_damaged_splits_are_reported_when_they_are_read(
    text: str | None, copied: Run, network: CTClassifier
) -> None:
    if text is None:
        copied.splits_file.unlink()
    else:
        copied.splits_file.write_text(text, encoding="utf-8")
    expected = f"^expected the run's splits in '{re.escape(str(copied.splits_file))}', found .+; train again$"
    with pytest.raises(ModelError, match=expected):
        Checkpoint(run=copied, record=RECORD, network=network, sha256="").samples("train")
    with pytest.raises(ModelError, match=expected):
        Checkpoint(run=copied, record=RECORD, network=network, sha256="").digests("train")


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Makes writes beyond `size` bytes of a file fail, as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_run(network: CTClassifier, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(Exception, match="File too large"), files_no_larger_than(100_000):
        save_checkpoint(run, network, RECORD, SPLITS, DIGESTS)
    assert [file.name for file in tmp_path.iterdir()] == ["splits.json"]
    assert not run.has_checkpoint


def test_a_full_disk_is_an_error_of_the_system(network: CTClassifier, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large"), files_no_larger_than(100_000):
        save_checkpoint(Run(tmp_path), network, RECORD, SPLITS, DIGESTS)


THRESHOLD = Novelty(
    threshold=9.0, quantile=0.95, quantiles=tuple(range(101)), images=40, training_images=80, components=3
)


def novelty(seed: int = 0) -> NoveltyDistance:
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float32]] = {}
    for part, width in (("features", 2048), ("thumbnail", 64)):
        sizes = {"shift": (width,), "weight": (width, 3), "means": (2, 3)}
        arrays |= {f"{part}.{name}": rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    return NoveltyDistance(arrays | {"typical": np.array([1, 2], np.float32)}, 64)


@pytest.fixture
def with_novelty(copied: Run, network: CTClassifier) -> Run:
    """A copy of the saved run with a novelty distance."""
    save_checkpoint(copied, network, replace(RECORD, novelty=THRESHOLD), SPLITS, DIGESTS, novelty=novelty())
    return copied


def test_novelty_is_read_as_it_was_written(with_novelty: Run) -> None:
    checkpoint = load_checkpoint(with_novelty)
    digest = hashlib.sha256(with_novelty.novelty_file.read_bytes()).hexdigest()
    assert (checkpoint.record.novelty, checkpoint.record.novelty_sha256) == (THRESHOLD, digest)
    assert checkpoint.novelty is not None
    state = novelty().state_dict()
    for name, tensor in checkpoint.novelty.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert not with_novelty.next_novelty_file.exists()


def test_missing_novelty_of_a_run_is_reported(with_novelty: Run) -> None:
    digest = hashlib.sha256(with_novelty.novelty_file.read_bytes()).hexdigest()[:12]
    with_novelty.novelty_file.unlink()
    rejected(
        with_novelty,
        f"expected the distance from the training images that '{with_novelty.record_file}' was written with (SHA-256 "
        f"{digest}) in '{with_novelty.novelty_file}', found none; copy all files of the run again, or train again",
    )


def test_novelty_of_another_training_is_rejected(with_novelty: Run) -> None:
    other = bytearray(with_novelty.novelty_file.read_bytes())
    other[-1] ^= 1
    with_novelty.novelty_file.write_bytes(other)
    with pytest.raises(ModelError, match=r"found others \([0-9a-f]{12}\); copy all files of the run again"):
        load_checkpoint(with_novelty)


def test_next_novelty_is_read_until_it_replaces_the_earlier_one(with_novelty: Run) -> None:
    """As after a kill between the record and the renaming of the files."""
    earlier = with_novelty.novelty_file.read_bytes()
    with_novelty.novelty_file.rename(with_novelty.next_novelty_file)
    with_novelty.novelty_file.write_bytes(earlier[:-1] + bytes([earlier[-1] ^ 1]))
    assert load_checkpoint(with_novelty).novelty is not None


def test_checkpoint_without_novelty_removes_the_earlier_one(with_novelty: Run, network: CTClassifier) -> None:
    save_checkpoint(with_novelty, network, RECORD, SPLITS, DIGESTS)
    assert load_checkpoint(with_novelty).novelty is None
    assert not with_novelty.novelty_file.exists()
