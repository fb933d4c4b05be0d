"""A processing module for mercure (https://mercure-imaging.org): DICOM files in, structured reports and pictures out.

mercure starts the container with the folders MERCURE_IN_DIR and MERCURE_OUT_DIR. The first has the images, named
`SERIES_UID#FILE_UID.dcm`, and task.json, whose `process.settings` are those of the module:

    results        kinds of results, as `ctonnx predict --results`: "sr,sc" (default), "sr", "sc"
    codes          table with the classes' codes, a path in the container
    series_filter  text that a series' kernel must match
    threads        number of threads

The second gets the results, named in the same way, and result.json: the decision for each series, and
`__mercure_notification`, which asks mercure for a notification if a series is positive, to be referred, or failed.
Nothing of a patient is in result.json or in the log. The model's file is that of CTONNX_MODEL.

Exit codes: 0 every series has its results, or is not a CT series; 1 a series has none; 2 wrong settings, no CT series.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

_OPTIONS = {"results": "--results", "codes": "--codes", "series_filter": "--series-filter", "threads": "--threads"}
_RESULT_KEYS = ("decision", "reason", "score", "used", "failed", "error")


class ModuleError(Exception):
    """The folders or the settings are wrong; the message has nothing of a patient."""


def run(given: Path, out: Path, model: str) -> int:
    """Predicts the images of a folder, writes the results, and returns the exit code.

    Raises:
        ModuleError: If the folder has no images, or the settings are wrong.
    """
    images = sorted(file for file in given.glob("*.dcm") if file.is_file())
    if not images:
        raise ModuleError("expected .dcm files in MERCURE_IN_DIR, found none")
    words = [sys.executable, "-m", "ctonnx", "predict", "--model", model, "--format", "jsonl", "--dicom-out", str(out)]
    words += [*_options(_settings(given)), "--null", "-"]
    names = b"".join(os.fsencode(file) + b"\0" for file in images)
    done = subprocess.run(words, input=names, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        return done.returncode
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    _rename(out)
    decided = [row for row in rows if row["decision"] is not None]
    failed = [row for row in rows if row["error"] is not None]
    # The exit code is also 1 if an image of a series with results cannot be read: its row counts it.
    is_incomplete = done.returncode == 1 and not any(row["failed"] for row in decided)
    (out / "result.json").write_text(json.dumps(_result(rows), indent=2) + "\n", encoding="utf-8")
    return 1 if failed or is_incomplete or not decided else 0


def _settings(given: Path) -> dict[str, Any]:
    """Returns the module's settings in task.json; empty without any."""
    try:
        task = json.loads((given / "task.json").read_text(encoding="utf-8"))
        process = task.get("process") or {}
        if isinstance(process, list):  # a rule with several modules
            process = process[0] if process else {}
        settings = process.get("settings") or {}
    except FileNotFoundError:
        raise ModuleError("expected task.json in MERCURE_IN_DIR, found none") from None
    except (ValueError, AttributeError):
        raise ModuleError("expected task.json with process.settings, found another content") from None
    if not isinstance(settings, dict):
        raise ModuleError("expected process.settings with names and values in task.json, found another content")
    return settings


def _options(settings: dict[str, Any]) -> list[str]:
    if unknown := sorted(settings.keys() - _OPTIONS.keys()):
        raise ModuleError(f"expected the settings {', '.join(_OPTIONS)}, found {', '.join(map(repr, unknown))}")
    return [word for name, value in settings.items() for word in (_OPTIONS[name], str(value))]


def _rename(out: Path) -> None:
    """Names the results as mercure names images, so that a later module or a rule finds their series."""
    from pydicom import dcmread

    for file in out.glob("*.dcm"):
        if "#" not in file.name:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            file.rename(out / f"{header.SeriesInstanceUID}#{file.name}")


def _result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    series = [{"series": place, **{key: row[key] for key in _RESULT_KEYS}} for place, row in enumerate(rows, 1)]
    counts = Counter(row["decision"] or ("failed" if row["error"] else "left out") for row in rows)
    text = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return {
        "series": series,
        "model_sha256": next((row["model_sha256"] for row in rows), None),
        "__mercure_notification": {
            "text": f"ctonnx, for research only: {text}",
            "requested": any(counts[name] for name in ("positive", "refer", "failed")),
        },
    }


def main() -> int:
    """Runs the module with mercure's environment, and returns the exit code."""
    try:
        folders = [Path(os.environ[name]) for name in ("MERCURE_IN_DIR", "MERCURE_OUT_DIR")]
        return run(*folders, os.environ["CTONNX_MODEL"])
    except KeyError as error:
        sys.stderr.write(f"expected the environment variable {error.args[0]}, found none\n")
    except ModuleError as error:
        sys.stderr.write(f"{error}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
