"""`python -m ctonnx_offline`: needs a checkout, pip and the standard library alone."""

from ctonnx_offline.cli import main

if __name__ == "__main__":
    main()
