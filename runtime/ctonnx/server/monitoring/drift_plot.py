"""The comparison of a log with its reference as a picture: an SVG file, without a library."""

from html import escape

from ctonnx.artifacts.decision.usage import ORDERED
from ctonnx.server.monitoring.drift import Comparison, Drift

__all__ = ["draw"]

_WIDTH, _HEIGHT = 380, 250  # of a quantity's part
_LEFT, _TOP, _BOTTOM, _RIGHT = 48, 56, 50, 14
_COLUMNS = 2
_HEAD = 56
_REFERENCE, _WINDOW, _ALARM = "#9aa5b1", "#0b6bcb", "#c0392b"
_MOST_BARS = 32
_MOST_LABELS = 8
_LETTERS = 14
_MOST_LEVEL = 3  # labels of categories that fit side by side
_STYLE = "text{font:12px system-ui,sans-serif;fill:#1b1f24}.t{font-weight:600;font-size:14px}.s{fill:#57606a}"
_UNITS = {"novelty": "percentile of the novelty", "brightness": "mean grey, 0 to 255", "size": "width x height"}


def draw(drift: Drift, model: str) -> str:
    """Returns a document with the shares of each quantity, of the reference in grey and of the log in blue."""
    rows = -(-len(drift.comparisons) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, _HEAD + rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        f'<text class="t" x="12" y="22">{escape(model)}: {drift.since} to {drift.until}</text>',
        _legend(12, 42, _REFERENCE, f"fitted on ({drift.reference_images} images)"),
        _legend(222, 42, _WINDOW, f"in use ({drift.images} images)"),
    ]
    for number, found in enumerate(drift.comparisons):
        x, y = number % _COLUMNS * _WIDTH, _HEAD + number // _COLUMNS * _HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{_panel(found)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _legend(x: int, y: int, color: str, text: str) -> str:
    return f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{color}"/><text x="{x + 18}" y="{y}">{text}</text>'


def _panel(found: Comparison) -> str:
    bins = found.bins
    hidden = len(bins) - _MOST_BARS
    bins = bins[:_MOST_BARS]
    totals = sum(found.reference.values()), sum(found.window.values())
    shares = [(found.reference.get(name, 0) / totals[0], found.window.get(name, 0) / totals[1]) for name in bins]
    most = max(max(pair) for pair in shares)
    high, wide = _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT - _RIGHT
    step = wide / len(bins)
    bar = min(0.4 * step, 22.0)
    color = _ALARM if found.alarm else "#1b1f24"
    verdict = "differs" if found.alarm else "no difference found"
    parts = [
        f'<text class="t" x="12" y="16">{_UNITS.get(found.quantity, found.quantity)}</text>',
        f'<text x="12" y="34" style="fill:{color}">{verdict}: p {found.p:.2g}, index {found.index:.2f} '
        f"(by chance {found.index_by_chance:.2f})</text>",
    ]
    for part in (0.0, 0.5, 1.0):
        y = _TOP + high * (1 - part)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d8dee4"/>')
        parts.append(
            f'<text class="s" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * part * most:.0f} %</text>'
        )
    labelled = -(-len(bins) // _MOST_LABELS) if found.quantity in ORDERED else 1
    for place, (name, pair) in enumerate(zip(bins, shares, strict=True)):
        middle = _LEFT + (place + 0.5) * step
        for x, share, fill in ((middle - bar, pair[0], _REFERENCE), (middle, pair[1], _WINDOW)):
            tall = high * share / most
            parts.append(
                f'<rect x="{x:.1f}" y="{_TOP + high - tall:.1f}" width="{bar:.1f}" height="{tall:.1f}" fill="{fill}"/>'
            )
        if place % labelled == 0 and (found.quantity in ORDERED or len(bins) <= _MOST_LABELS):
            parts.append(
                _label(name, middle, _TOP + high + 14, is_tilted=found.quantity not in ORDERED and len(bins) > 3)
            )
    if hidden > 0:
        parts.append(
            f'<text class="s" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">and {hidden} more</text>'
        )
    return "".join(parts)


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text class="s" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _label(name: str, x: float, y: float, *, is_tilted: bool) -> str:
    short = escape(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…")
    if not is_tilted:
        return _text(short, x, y, "middle")
    return f'<text class="s" transform="translate({x + 4:.1f},{y - 2}) rotate(-20)" text-anchor="end">{short}</text>'
