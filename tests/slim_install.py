"""Checks the slim install: the wheel with `[cpu]` alone is small and runs without torch.

Run it with `make slim`. It trains and exports a tiny model with the full environment, builds the wheel, installs it in
a fresh environment and works with the model there.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from ctonnx.rounding import shown

LIMIT_MB = 150
UV = Path(sys.executable).with_name("uv")
REPOSITORY = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command, shows it, and returns its standard output; a failure ends the check."""
    print("$", *command, flush=True)
    done = subprocess.run([str(word) for word in command], cwd=cwd, check=False, text=True, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"slim install: '{command[0]}' ended with exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def megabytes(folder: Path) -> float:
    """Returns the size of all files below a folder in MB (10^6 bytes)."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def main() -> None:
    """Runs the check."""
    full = Path(sys.executable).with_name("ctonnx")
    with tempfile.TemporaryDirectory(prefix="ctonnx-slim-") as name:
        work = Path(name)
        run(full, "data", "phantom", "phantoms", "--per-class", "5", "--size", "96", cwd=work)
        run(full, "train", "phantoms", "--weights", "none", "--epochs", "1", "--image-size", "64", cwd=work)
        run(full, "export", cwd=work)

        run(UV, "build", "--quiet", "--wheel", "--out-dir", work / "dist", cwd=REPOSITORY)
        wheel = next((work / "dist").glob("*.whl"))
        run(UV, "venv", "--quiet", "--python", sys.executable, "slim", cwd=work)
        slim = work / "slim" / "bin"
        constraints = REPOSITORY / "constraints.txt"
        run(UV, "pip", "install", "--quiet", "--python", slim / "python", "-c", constraints, f"{wheel}[cpu]", cwd=work)

        size = megabytes(work / "slim")  # before anything runs, which compiles what it imports

        run(slim / "ctonnx", "--help", cwd=work)
        if not run(slim / "ctonnx", "verify", cwd=work).endswith("verified\n"):
            sys.exit("slim install: verify does not verify")
        if "normal" not in run(slim / "ctonnx", "inspect", cwd=work):
            sys.exit("slim install: inspect does not show the classes")
        rows = run(slim / "ctonnx", "predict", "phantoms/test", "--format", "csv", cwd=work).splitlines()
        images = len(list((work / "phantoms" / "test").rglob("*.png")))
        if len(rows) != images + 1 or any(row.split(",")[1] == "" for row in rows):
            sys.exit(f"slim install: expected {images} predictions, found {rows}")
        installed = shown(size, LIMIT_MB, digits=1, form="f")
        print(f"slim install: {installed} MB installed (at most {LIMIT_MB} MB), {images} images predicted")
        if size > LIMIT_MB:
            sys.exit(1)


if __name__ == "__main__":
    main()
