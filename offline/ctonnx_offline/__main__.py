"""`python -m ctonnx_offline`: needs a checkout, pip and the standard library alone."""

import sys
from importlib.util import find_spec

if __name__ == "__main__":
    if find_spec("pip") is None:
        sys.exit(
            f"Error: expected pip in '{sys.executable}', found none; take the Python of an environment: "
            "python3 -m venv collecting"
        )
    from ctonnx_offline.cli import main

    main()
