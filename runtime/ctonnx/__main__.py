"""Starts the `ctonnx` command, which `python -m ctonnx` stands for too."""

import sys

__all__ = ["run"]


def run() -> None:
    """Runs the command; Ctrl-C ends it in one sentence before it has begun, too."""
    try:
        from ctonnx.cli import main  # here, as it takes long enough to be stopped

        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nctonnx: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
