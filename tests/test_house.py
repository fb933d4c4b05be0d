"""The rules of the house: which package may import which, what is public, what a command loads, what the docs say."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "ctonnx": ROOT / "runtime/ctonnx",
    "ctonnx_train": ROOT / "train/ctonnx_train",
    "ctonnx_export": ROOT / "export/ctonnx_export",
    "ctonnx_bench": ROOT / "benchmarks/ctonnx_bench",
}
MAY_IMPORT = {
    "ctonnx": set[str](),
    "ctonnx_train": {"ctonnx"},
    "ctonnx_export": {"ctonnx", "ctonnx_train"},
    "ctonnx_bench": {"ctonnx", "ctonnx_train", "ctonnx_export"},
}
RUNTIME_LIBRARIES = {"click", "numpy", "PIL", "onnxruntime"}
HEAVY = (
    "imagehash",
    "lightning",
    "matplotlib",
    "onnx",
    "onnxsim",
    "psutil",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "tqdm",
)
MODULES = [
    ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
    for package, folder in PACKAGES.items()
    for file in sorted(folder.rglob("*.py"))
    if file.name != "__main__.py"
]


def imports(file: Path) -> set[str]:
    """Returns the top-level packages that a file imports, in `if TYPE_CHECKING` and inside functions too."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_between_the_packages_run_one_way(package: str) -> None:
    siblings = set(PACKAGES) - {package} - MAY_IMPORT[package]
    wrong = {str(file): imports(file) & siblings for file in PACKAGES[package].rglob("*.py")}
    assert {file: names for file, names in wrong.items() if names} == {}


def test_runtime_imports_nothing_but_its_four_libraries() -> None:
    # Which are imported where a DICOM file is met.
    dicom = {PACKAGES["ctonnx"] / f"dicom{part}.py" for part in ("", "_dataset", "_decoding")}
    server = set((PACKAGES["ctonnx"] / "server").rglob("*.py"))  # which `ctonnx serve` imports
    raw = PACKAGES["ctonnx"] / "raw_samples.py"  # which is imported where Pillow does not read a file as it is meant
    rest = set(PACKAGES["ctonnx"].rglob("*.py")) - server - dicom - {raw}

    def libraries(files: Iterable[Path]) -> set[str]:
        return {name for file in files for name in imports(file)} - set(sys.stdlib_module_names) - {"ctonnx"}

    assert libraries(rest) == RUNTIME_LIBRARIES
    assert libraries(dicom) == {"PIL", "imagecodecs", "numpy", "pydicom"}
    assert libraries({raw}) == {"PIL", "imagecodecs", "numpy", "tifffile"}
    assert libraries(server) == {"PIL", "h11", "numpy", "prometheus_client", "python_multipart", "starlette", "uvicorn"}


def test_export_uses_the_training_packages_data_network_and_checkpoint_only() -> None:
    used = {
        node.module
        for file in PACKAGES["ctonnx_export"].rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ctonnx_train")
    }
    assert used == {
        f"ctonnx_train.{name}" for name in ("checkpoint", "folders", "network", "pixels", "sources", "splits")
    }


@pytest.mark.parametrize("module", MODULES)
def test_all_is_the_truth(module: str) -> None:
    """Every public name that a module defines stands in its `__all__`, and every name there exists."""
    loaded = importlib.import_module(module)
    tree = ast.parse(Path(str(loaded.__file__)).read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    if not defined and not hasattr(loaded, "__all__"):
        return
    assert sorted(loaded.__all__) == sorted(set(loaded.__all__))
    assert defined <= set(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_module_opens_with_a_sentence_and_stays_a_room(module: str) -> None:
    file = Path(str(importlib.import_module(module).__file__))
    text = file.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))
    assert len(text.splitlines()) <= 400


def loaded_by(statement: str, cwd: Path) -> list[str]:
    """Runs a statement in a fresh interpreter and returns the names of the modules that were loaded."""
    report = "sys.stderr.write('\\n' + json.dumps(list(sys.modules)))"
    code = f"import sys, json\ntry:\n    {statement}\nfinally:\n    {report}"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stderr.rpartition("\n")[2])
    return modules


def command(*words: str) -> str:
    return f"sys.argv = ['ctonnx', *{words!r}]; from ctonnx.cli import main; main()"


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("predict", "--help"),
        ("predict", "scan.png"),
        ("serve", "--help"),
        ("verify",),
        ("inspect",),
        ("inspect", "--json"),
        ("demo", "--help"),
        ("train", "--help"),
        ("evaluate", "--help"),
        ("export", "--help"),
        ("bench", "--help"),
        ("data", "--help"),
        ("data", "audit", "--help"),
        ("data", "phantom", "--help"),
    ],
    ids=" ".join,
)
def test_no_runtime_command_loads_what_training_needs(words: tuple[str, ...], workspace: Path, phantoms: Path) -> None:
    (workspace / "scan.png").write_bytes(next((phantoms / "test").rglob("*.png")).read_bytes())
    assert [name for name in loaded_by(command(*words), workspace) if name in HEAVY] == []


def test_import_of_ctonnx_loads_no_library_at_all(tmp_path: Path) -> None:
    modules = loaded_by("import ctonnx; ctonnx.__version__; ctonnx.ModelError", tmp_path)
    assert [name for name in (*HEAVY, *RUNTIME_LIBRARIES) if name in modules] == []


def test_predictor_is_reached_from_the_top_and_loads_no_torch(tmp_path: Path) -> None:
    modules = loaded_by("from ctonnx import Predictor, Prediction, ModelSpec", tmp_path)
    assert "onnxruntime" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ctonnx' has no attribute 'Nothing'"):
        _ = importlib.import_module("ctonnx").Nothing


def test_command_reference_is_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/write_commands.py", "--print"], check=True, capture_output=True, text=True
    )
    assert (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8") == done.stdout, "run: make docs"


def test_readme_names_every_command_and_no_other() -> None:
    from ctonnx.cli import _COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:\$ |`)ctonnx (\w+)", readme)) == set(_COMMANDS)


def test_changelog_has_an_entry_for_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: file.name)
def test_file_of_the_tests_does_nothing_when_it_is_imported(file: Path) -> None:
    """Pytest imports all of them, for their doctests, in each of its processes."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
                pytest.fail(f"{name}() is called; put it below: if __name__ == '__main__':")


def test_every_source_file_has_its_tests() -> None:
    tested = {file.stem.removeprefix("test_") for file in (ROOT / "tests").rglob("test_*.py")}
    sources = {
        file.stem
        for folder in PACKAGES.values()
        for file in folder.rglob("*.py")
        if not file.stem.startswith("__") and "commands" not in file.parts
    }
    assert sources - tested - {"outputs", "command"} == set()
