"""Letters of any script: from an installed font that has them, else as their codes."""

import pytest
from matplotlib.font_manager import FontProperties, findfont

from ctonnx_train.evaluation.drawing import fonts
from ctonnx_train.evaluation.drawing.fonts import columns, drawable, families, font_file


def test_families_are_installed_and_begin_with_the_font_of_matplotlib() -> None:
    assert families()[0] == "DejaVu Sans"
    for name in families():
        findfont(FontProperties(family=name), fallback_to_default=False)  # raises an error if it is not installed


@pytest.mark.parametrize("text", ["normal", "\xd6dem", "\u03b2", "\u0440\u0430\u043a", "a\nb", "2 < 5", "\u200b"])
def test_letters_that_a_font_has_stay(text: str) -> None:
    assert drawable(text) == text


def test_letters_that_no_font_has_are_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans",))
    assert drawable("\u80ba lung \U0001fac1") == r"\u80ba lung \U0001fac1"


def test_letter_is_taken_from_any_installed_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans Mono", "STIXGeneral"))
    assert drawable("\U0001d504") == "\U0001d504"  # only the second has it
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans Mono",))
    assert drawable("\U0001d504") == r"\U0001d504"


def test_font_file_is_that_of_the_font_with_most_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans Mono", "STIXGeneral"))
    assert font_file("normal \U0001d504") == findfont("STIXGeneral")
    assert font_file("normal") == findfont("DejaVu Sans Mono")  # the first of equals


def test_letters_of_east_asia_are_two_columns_wide() -> None:
    assert [columns(text) for text in ("", "ab", "\u80ba\u764c", "a\uff21")] == [0, 2, 4, 3]
