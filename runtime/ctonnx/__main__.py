"""Entry point of the `ctonnx` command and of `python -m ctonnx`."""

import sys

from ctonnx.cli.standard_streams import open_missing_streams

__all__ = ["run"]


def run() -> None:
    """Runs the command, with or without standard streams. Ctrl-C ends it without a traceback, even during start-up."""
    open_missing_streams()  # first: the next file that is opened would get a closed stream's number
    try:
        from ctonnx.cli.main import main  # inside, as the import is long enough to be interrupted

        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nctonnx: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
