"""Starts the `ctonnx` command, which `python -m ctonnx` stands for too."""

import sys

from ctonnx.cli.standard_streams import open_missing_streams

__all__ = ["run"]


def run() -> None:
    """Runs the command, with or without standard streams; Ctrl-C ends it in one sentence before it has begun, too."""
    open_missing_streams()  # first of all: the next file that is opened takes the place of a closed stream
    try:
        from ctonnx.cli.main import main  # here, as it takes long enough to be stopped

        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nctonnx: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
