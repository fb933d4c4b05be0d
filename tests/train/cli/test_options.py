"""Options of several commands: their defaults are in the help."""

import re

import click
import pytest
from tests.train.cli.conftest import ctonnx

from ctonnx_train.cli.options import Percent


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (
            ("train",),
            {
                *("--class-name", "--name", "--help", "--drop-leaks", "--group-regex", "--positive", "--labels"),
                *("--compile", "--full-size", "--tensorboard", "--preview", "--resume", "--threads"),
            },
        ),
        (("data", "phantom"), {"--help"}),
    ],
)
def test_the_help_names_every_options_default(arguments: tuple[str, ...], without: set[str]) -> None:
    result = ctonnx(*arguments, "--help")
    assert result.exit_code == 0
    _, *texts = re.split(r"^  (?=-)", result.stdout, flags=re.MULTILINE)
    shown = {match[0]: " ".join(text.split()) for text in texts if (match := re.search("--[a-z-]+", text))}
    assert {name for name, text in shown.items() if "[default: " not in text} == without


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("5", 0.05), ("0.7", 0.007), ("0", 0.0), ("100%", 1.0)])
def test_a_percentage_may_have_its_sign(text: str, share: float) -> None:
    assert Percent().convert(text, None, None) == share


@pytest.mark.parametrize("text", ["101%", "-1", "nan", "five"])
def test_other_percentages_are_rejected(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Percent().convert(text, None, None)
