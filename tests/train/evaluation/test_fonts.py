"""Letters of any script in plots: from a font that has them, else as their codes."""

import pytest
from matplotlib.font_manager import FontProperties, findfont

from ctonnx_train.evaluation import fonts
from ctonnx_train.evaluation.fonts import columns, drawable, families


def test_font_of_matplotlib_is_asked_first_and_only_installed_ones_are_asked() -> None:
    assert families()[0] == "DejaVu Sans"
    for name in families():
        findfont(FontProperties(family=name), fallback_to_default=False)  # raises where it is not installed


@pytest.mark.parametrize("text", ["normal", "\xd6dem", "\u03b2", "\u0440\u0430\u043a", "a\nb", "2 < 5", "\u200b"])
def test_letters_that_a_font_has_stay(text: str) -> None:
    assert drawable(text) == text


def test_letters_that_no_font_has_are_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans",))
    fonts._has_glyph.cache_clear()
    assert drawable("\u80ba lung \U0001fac1") == r"\u80ba lung \U0001fac1"
    fonts._has_glyph.cache_clear()


def test_letter_is_taken_from_any_installed_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans Mono", "STIXGeneral"))
    fonts._has_glyph.cache_clear()
    assert drawable("\U0001d504") == "\U0001d504"  # which only the second has
    monkeypatch.setattr(fonts, "families", lambda: ("DejaVu Sans Mono",))
    fonts._has_glyph.cache_clear()
    assert drawable("\U0001d504") == r"\U0001d504"
    fonts._has_glyph.cache_clear()


def test_letters_of_east_asia_are_two_columns_wide() -> None:
    assert [columns(text) for text in ("", "ab", "\u80ba\u764c", "a\uff21")] == [0, 2, 4, 3]
