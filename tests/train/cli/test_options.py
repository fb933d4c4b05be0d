"""Options of several commands: their defaults are in the help."""

import re

import pytest
from tests.train.cli.conftest import ctonnx


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (
            ("train",),
            {
                *("--class-name", "--name", "--help", "--drop-leaks", "--group-regex", "--positive"),
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
