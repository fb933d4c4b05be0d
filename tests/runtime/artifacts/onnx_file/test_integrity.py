"""Every flipped bit outside the metadata is found, and the metadata may change."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from tests.runtime.inference.test_session import SPEC, means

from ctonnx import Predictor
from ctonnx.artifacts.onnx_file.integrity import check_content, content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.cli.main import main
from ctonnx.errors import ModelError


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A small model with its checksum in the spec."""
    file = means(tmp_path / "sealed.onnx", SPEC.to_json())
    return means(file, replace(SPEC, content_checksum=content_checksum(file)).to_json())


def by_hand(content: bytes) -> str:
    """The checksum, computed with integers of any size."""
    padded = content + bytes(-len(content) % 8)
    words = [int.from_bytes(padded[place : place + 8], "little") for place in range(0, len(padded), 8)]
    sums = sum(words) + len(content), sum(place * word for place, word in enumerate(words, 1))
    return "".join(f"{value % 2**64:016x}" for value in sums)


@pytest.mark.parametrize("size", [1, 8, 4091, (1 << 18) - 3, (1 << 18) + 1, 5 * (1 << 17) + 5])
def test_checksum_of_any_length_is_that_by_hand(size: int, tmp_path: Path) -> None:
    model = onnx.ModelProto(doc_string="x" * size, domain="y")
    for number in range(2):  # metadata between and after the other fields
        model.metadata_props.add(key=f"{number}", value="z" * 9)
    behind = onnx.ModelProto(ir_version=9).SerializeToString()
    content = model.SerializeToString() + behind
    (tmp_path / "m.onnx").write_bytes(content)
    del model.metadata_props[:]
    expected = by_hand(model.SerializeToString() + behind)
    assert content_checksum(content) == content_checksum(tmp_path / "m.onnx") == expected


def test_two_words_that_change_places_are_found(tmp_path: Path) -> None:
    first, second = (
        onnx.ModelProto(doc_string=text * 100).SerializeToString() for text in ("a" * 8 + "b" * 8, "b" * 8 + "a" * 8)
    )
    assert content_checksum(first) != content_checksum(second)


def test_checksum_is_that_of_the_file_without_its_metadata(sealed: Path) -> None:
    model = onnx.load(sealed)
    spec = ModelSpec.from_json(model.metadata_props[0].value)
    del model.metadata_props[:]
    assert content_checksum(sealed) == content_checksum(sealed.read_bytes()) == by_hand(model.SerializeToString())
    assert spec.content_checksum == content_checksum(sealed)


def test_undamaged_file_is_accepted(sealed: Path) -> None:
    check_content(sealed)
    with Predictor(sealed) as predictor:
        assert predictor.spec.content_checksum == content_checksum(sealed)


def test_other_metadata_do_not_count(sealed: Path) -> None:
    model = onnx.load(sealed)
    model.metadata_props.add(key="another", value="v" * 1000)
    onnx.save(model, sealed)
    check_content(sealed)


def test_every_flipped_bit_outside_the_metadata_is_found(sealed: Path) -> None:
    content = sealed.read_bytes()
    spec = content.index(METADATA_KEY.encode()) - 8, content.rindex(b"}") + 1
    places = [place for place in range(len(content)) if not spec[0] <= place < spec[1]]
    for place in np.random.default_rng(0).choice(places, 50, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        sealed.write_bytes(damaged)
        try:
            Predictor(sealed).close()
        except ModelError:
            continue
        pytest.fail(f"the flipped bit at {place} was not found")


def test_flipped_bit_in_the_weights_of_an_export_ends_predict(model: Path, tmp_path: Path) -> None:
    """End-to-end test with the checksum that the export wrote."""
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 0x40
    file = tmp_path / "model.fp32.onnx"
    file.write_bytes(damaged)
    kept, found = content_checksum(model), content_checksum(file)
    message = (
        f"expected '{file}' as it was exported (checksum {kept}), found it damaged or altered (checksum "
        f"{found}): its predictions may be wrong; copy it again, or export it again"
    )
    for command in (["predict", "--model", str(file), str(tmp_path)], ["inspect", str(file)]):
        (tmp_path / "scan.png").touch()
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")
    with Predictor(file, check=False) as predictor:
        assert predictor.spec.content_checksum == kept
    unchecked = CliRunner().invoke(main, ["predict", "--no-check", "--model", str(file), str(tmp_path / "scan.png")])
    assert (unchecked.exit_code, "the file is empty" in unchecked.stdout) == (1, True)  # the scan's row, not the model


def test_file_without_a_checksum_is_accepted(tmp_path: Path) -> None:
    text = json.loads(SPEC.to_json())
    del text["content_checksum"]
    Predictor(means(tmp_path / "old.onnx", json.dumps(text))).close()
