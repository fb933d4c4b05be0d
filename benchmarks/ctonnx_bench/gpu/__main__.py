"""`python -m ctonnx_bench.gpu`: on a bare machine, installs the wheels before anything else is imported."""

import sys
from pathlib import Path

from ctonnx_bench.gpu.wheels import install, wheels_folder

if __name__ == "__main__":
    if (wheels := wheels_folder(sys.argv[1:])) is not None:
        install(wheels, Path(__file__).parents[3] / "pyproject.toml")
    from ctonnx_bench.gpu.cli import main

    main()
