"""Files of /proc and /sys of a made-up Linux machine."""

from pathlib import Path


def write(file: Path, text: str) -> None:
    """Writes a file and makes its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")
