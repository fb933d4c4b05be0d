"""The shift from the training images to other scans."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.train.grey_models import SPEC
from tests.train.recalibration.test_fitting import NOVELTY

from ctonnx.images.loading import Origin
from ctonnx.images.scan import Scan
from ctonnx.parity.outputs import Outputs
from ctonnx_train.audit.facts import Facts, image_facts
from ctonnx_train.evaluation.external.shift import FACTS, describe_shift
from ctonnx_train.evaluation.statistics.shares import exact_share_of

SIDES = np.array([True, True, False])


@pytest.fixture
def facts() -> list[Facts]:
    """Facts of images of 40 x 20 pixels: black, dark grey, and half dark grey and half white."""
    found: list[Facts] = []
    for left, right in ((0, 0), (16, 16), (16, 255)):
        pixels = np.full((20, 40), left, np.uint8)
        pixels[:, 20:] = right
        found.append(image_facts(Scan(Image.fromarray(pixels)), Origin("PNG", "L")))
    return found


def outputs(novelty: list[float] | None) -> Outputs:
    nothing = np.zeros((3, 3), np.float32)
    return Outputs(nothing, nothing, nothing, None if novelty is None else np.array(novelty, np.float32))


def test_facts_are_those_of_the_images(facts: list[Facts]) -> None:
    found = describe_shift(SPEC, facts, outputs(None), SIDES)
    assert found["novelty"] is None
    assert not found["training_known"]
    assert {name: fact["here"] for name, fact in found["facts"].items()} == {
        "mean": 16.0,
        "spread": 0.0,
        "black": 0.0,
        "white": 0.0,
        "width": 40.0,
        "height": 20.0,
    }
    assert set(found["facts"]) < set(FACTS)


def test_facts_are_compared_with_those_of_the_training_images(facts: list[Facts]) -> None:
    known = {
        "images": 600,
        "medians": {"mean": 80.0},
        "middle_90": {"mean": [60.0, 140.0], "width": [40.0, 60.0]},
        "by_class": {"normal": {"mean": 116.0, "format": "PNG"}, "tumor": {"mean": 73.0}},
    }
    found = describe_shift(replace(SPEC, acquisition=known), facts, outputs(None), SIDES)
    mean = found["facts"]["mean"]
    assert mean["in_training"] == {"normal": 116.0, "tumor": 73.0}
    assert (mean["middle_90"], mean["outside"]["value"]) == ([60.0, 140.0], pytest.approx(2 / 3, abs=1e-6))
    assert found["facts"]["width"]["outside"]["value"] == 0
    assert "outside" not in found["facts"]["height"]
    assert found["training_known"]


@pytest.mark.parametrize("known", [{"by_class": 3, "middle_90": {"mean": "a"}}, {"by_class": {"normal": None}}])
def test_facts_of_an_unknown_form_are_not_compared(known: dict[str, object], facts: list[Facts]) -> None:
    found = describe_shift(replace(SPEC, acquisition=known), facts, outputs(None), SIDES)
    assert "outside" not in found["facts"]["mean"]


def test_novelty_is_given_for_both_sides(facts: list[Facts]) -> None:
    spec = replace(SPEC, novelty=NOVELTY)
    found = describe_shift(spec, facts, outputs([0.5, 3.0, 4.0]), SIDES)["novelty"]
    assert found["flagged"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert (found["flagged_positive"]["value"], found["flagged_negative"]["value"]) == (0.5, 1.0)
    assert (found["expected"], found["median_percentile"]) == (0.1, 100.0)
    assert describe_shift(spec, facts, outputs(None), SIDES)["novelty"] is None
    grouped = describe_shift(spec, facts, outputs([0.5, 3.0, 4.0]), SIDES, [7, 7, 7])["novelty"]
    assert grouped["flagged"]["interval"] == exact_share_of(np.array([True, True, False]), [0, 0, 0])["interval"]
