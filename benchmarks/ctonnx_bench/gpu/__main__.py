"""`python -m ctonnx_bench.gpu`: on a bare machine, installs the wheels before anything else is imported."""

import sys
from pathlib import Path

from ctonnx_bench.gpu.wheels import checkout_metadata, install, wheels_folder

if __name__ == "__main__":
    project = Path(__file__).parents[3] / "pyproject.toml"
    if (wheels := wheels_folder(sys.argv[1:])) is not None:
        install(wheels, project)
    with checkout_metadata(project):
        from ctonnx_bench.gpu.cli import main

        main()
