"""The rules of the house: imports between packages and rooms, public names, loaded modules, and documentation."""

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
    "ctonnx_compress": ROOT / "compress/ctonnx_compress",
    "ctonnx_scale": ROOT / "scale/ctonnx_scale",
    "ctonnx_bench": ROOT / "benchmarks/ctonnx_bench",
    "ctonnx_offline": ROOT / "offline/ctonnx_offline",
}
MAY_IMPORT = {
    "ctonnx": set[str](),
    "ctonnx_train": {"ctonnx"},
    "ctonnx_export": {"ctonnx", "ctonnx_train"},
    "ctonnx_compress": {"ctonnx", "ctonnx_train", "ctonnx_export"},
    "ctonnx_scale": {"ctonnx"},
    "ctonnx_bench": {"ctonnx", "ctonnx_train", "ctonnx_export"},
    "ctonnx_offline": {"ctonnx", "ctonnx_bench"},
}
ROOMS = {
    "ctonnx": "errors system parity images artifacts inference prediction server cli",
    "ctonnx.system": "text packages procfs cpu nvidia memory temporary_files file_reading files",
    "ctonnx.images": "scan source modes raster formats body preprocessing dicom loading",
    "ctonnx.images.raster": "tiff_directory tiff jpeg2000 depth raw_samples salvage unsupported decoding",
    "ctonnx.images.dicom": "hounsfield stored_bits header redaction dataset identity decoding rendering file",
    "ctonnx.images.dicom.rendering": "window greyscale",
    "ctonnx.parity": "rounding intervals outputs comparison acceptance_gates golden_gate",
    "ctonnx.artifacts": "json_schema onnx_file report_schema decision spec caveats golden run provenance",
    "ctonnx.artifacts.decision": "operating_point prediction_sets novelty brightness rule patient_rule usage shortcuts",
    "ctonnx.artifacts.onnx_file": "protobuf metadata operators integrity",
    "ctonnx.artifacts.provenance": "signature keys trust signing bom",
    "ctonnx.inference": "cuda tensorrt providers plugins diagnosis session runner tuning self_test",
    "ctonnx.prediction": "inputs model_selection results cautions streaming predictor device series output",
    "ctonnx.prediction.device": "verification candidates kept_choice fastest_provider",
    "ctonnx.prediction.series": "pseudonyms slices ordering choice repeats grouping reduction stream",
    "ctonnx.prediction.output": (
        "provenance row_order row_formats pictures heatmap_folder group_rows batch group_batch parts"
    ),
    "ctonnx.prediction.output.parts": "split part_file merging",
    "ctonnx.prediction.output.pictures": "heatmap_image series_picture",
    "ctonnx.server.pacs": "results retrieval audit node",
    "ctonnx.server.pacs.node": "settings spool outbox receiver sender worker node status page",
    "ctonnx.server.pacs.results": "uids codes source document report key_objects picture secondary_capture folder",
    "ctonnx.server.pacs.results.report": "terms content_items image_groups structured_report",
    "ctonnx.server": "settings monitoring transport engine api app grpc page pacs",
    "ctonnx.server.grpc": "messages translation calls listener",
    "ctonnx.server.transport": "errors budgets file_names multipart uploads middleware connection lifecycle",
    "ctonnx.server.monitoring": "metrics usage_log two_sample drift drift_plot",
    "ctonnx.server.engine": "batching classification service",
    "ctonnx.server.api": "open_inference triton model_info schemas openapi",
    "ctonnx.cli": "standard_streams signals options model_banner prediction commands completion main",
    "ctonnx.cli.prediction": "stdin_names dicom_results group_prediction parts",
    "ctonnx.cli.commands": "demo doctor drift inspect node predict serve sign verify",
    "ctonnx_train": "data audit network runs evaluation stress training recalibration cli",
    "ctonnx_train.data": "splits patients dataset sources phantom leakage layouts image_folder pixel_store",
    "ctonnx_train.data.phantom": "drift canvas anatomy scanner drawing patient dicom_series phantom_set patient_set",
    "ctonnx_train.data.layouts": (
        "split_names class_names layout class_folders skipped_files medmnist labels_file unused_labels patient_sources"
    ),
    "ctonnx_train.audit": "facts near_duplicates shortcuts training_images audit report",
    "ctonnx_train.network": "classifier thumbnail novelty state_dicts weight_files pretrained inference openmp threads",
    "ctonnx_train.runs": "record splits_file checkpoint",
    "ctonnx_train.evaluation": "statistics fitting evaluated_model patients evaluate drawing report external",
    "ctonnx_train.evaluation.statistics": "metrics shares mcnemar",
    "ctonnx_train.evaluation.fitting": "calibration prediction_sets novelty threshold decisions usage lines",
    "ctonnx_train.evaluation.patients": "slices aggregation fitting subgroups metrics report",
    "ctonnx_train.evaluation.drawing": "fonts plots",
    "ctonnx_train.evaluation.external": "question verdict leaks shift external report",
    "ctonnx_train.stress": "transforms changes stress_test gate report plot",
    "ctonnx_train.training": "recipe loop preparation preview resume results single_run cross_fitting train",
    "ctonnx_train.training.results": "out_of_fold novelty run_record report",
    "ctonnx_train.training.loop": (
        "distributed acquisition augmentation batches device lightning_module progress callbacks fit"
    ),
    "ctonnx_train.recalibration": "temperature scans fitting comparison files recalibrate report",
    "ctonnx_train.cli": "options data train evaluate recalibrate",
    "ctonnx_export": "graph image_sets trial quantization models report triton export cli",
    "ctonnx_export.graph": "sessions deploy_graph original execution conversion simplification backbone fp16",
    "ctonnx_export.quantization": "settings calibration amx qdq input_stem bias_correction search learned",
    "ctonnx_export.quantization.learned": "integers operators fake_quantization fine_tuning exactness selection learn",
    "ctonnx_export.quantization.search": "sensitivity judging scheme_search",
    "ctonnx_export.report": "caveats facts parity_table stress decisions markdown model_card",
    "ctonnx_compress": "settings operations pruning distillation gate report compress cli",
    "ctonnx_scale": "storage rows parts names cluster journal actor engine cli",
    "ctonnx_bench": "cases measurement correctness analysis experiments report benchmark gpu cli",
    "ctonnx_bench.benchmark": "document workflow plan family",
    "ctonnx_bench.benchmark.family": "members images comparison front document tables labels plot workflow",
    "ctonnx_bench.cases": "adapters settings contenders images task case sweep",
    "ctonnx_bench.cases.adapters": "adapter predictor plain openvino openvino_int8 torch_network torch_graph",
    "ctonnx_bench.measurement": "interleaving child processes sensors without_amx environment worker rounds",
    "ctonnx_bench.correctness": "judgement reference",
    "ctonnx_bench.analysis": "statistics speedup best_settings earlier regression",
    "ctonnx_bench.gpu": "wheels settings step steps worker report kit cli",
    "ctonnx_bench.gpu.steps": ("facts device_tests training export verification latency folder server rejections"),
    "ctonnx_bench.gpu.report": "markdown plots files",
    "ctonnx_bench.report": "notes tables charts html files publishing",
    "ctonnx_bench.experiments": "scans overheads throughput serving end_to_end",
    "ctonnx_bench.experiments.overheads": "startup predictor harness thread_spinning model_check",
    "ctonnx_bench.experiments.throughput": (
        "streaming precisions roofline plain_training training busy_core shards path_costs ray_engine"
    ),
    "ctonnx_bench.experiments.serving": "load server pacs_node drift_alarms",
    "ctonnx_bench.experiments.end_to_end": "peers folder",
    "ctonnx_bench.experiments.end_to_end.peers": "peer ctonnx pytorch ultralytics optimum",
    "ctonnx_offline": "standards target placeholders pip_calls checking parts join bundle cli",
}
"""The entries of each folder. An entry imports only entries to its left in its folder."""

MOST_ENTRIES = 9
UNTESTED = {"__init__", "__main__"}
RUNTIME_LIBRARIES = {"click", "numpy", "PIL", "onnxruntime"}
HEAVY = (
    "imagehash",
    "lightning",
    "matplotlib",
    "onnx",
    "onnxsim",
    "psutil",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "torch_pruning",
    "torchvision",
    "tqdm",
)
MODULES = [
    ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
    for package, folder in PACKAGES.items()
    for file in sorted(folder.rglob("*.py"))
    if file.name != "__main__.py"
]


def imported_names(file: Path) -> list[str]:
    """Returns the dotted names that a file imports, in `if TYPE_CHECKING` and inside functions too."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return names + [f"{node.module}.{alias.name}" for node in froms for alias in node.names]


def imports(file: Path) -> set[str]:
    """Returns the top-level packages that a file imports."""
    return {name.partition(".")[0] for name in imported_names(file)}


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_between_the_packages_run_one_way(package: str) -> None:
    siblings = set(PACKAGES) - {package} - MAY_IMPORT[package]
    wrong = {str(file): imports(file) & siblings for file in PACKAGES[package].rglob("*.py")}
    assert {file: names for file, names in wrong.items() if names} == {}


def entries(folder: Path) -> set[str]:
    """Returns the names of a folder's modules and folders, without `.py`."""
    files = [
        file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ]
    names = {file.parts[0] if len(file.parts) > 1 else file.stem for file in files if file.suffix != ".typed"}
    return names - {"__init__", "__main__"}


def folder_of(room: str) -> Path:
    package, *inner = room.split(".")
    return PACKAGES[package].joinpath(*inner)


def test_every_folder_is_a_room_with_few_entries() -> None:
    folders = {
        folder
        for package in PACKAGES.values()
        for folder in [package, *package.rglob("*")]
        if (folder / "__init__.py").exists()
    }
    with_code = {file.parent for package in PACKAGES.values() for file in package.rglob("*.py")}
    peers = folder_of("ctonnx_bench.experiments.end_to_end.peers")
    assert folders - {folder for folder in folders if folder.parent == peers} == {folder_of(room) for room in ROOMS}
    assert with_code - folders - set(peers.iterdir()) == set()
    for room, order in ROOMS.items():
        assert sorted(entries(folder_of(room))) == sorted(order.split()), room
        assert len(order.split()) <= MOST_ENTRIES, room


def test_arrows_within_a_package_run_one_way() -> None:
    """If a.b.c imports a.d.e, b is to the right of d in the folder a."""
    wrong = []
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            here = (package, *file.relative_to(folder).with_suffix("").parts)
            for name in imported_names(file):
                there = tuple(name.split("."))
                shared = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), 0)
                order = ROOMS.get(".".join(here[:shared]), "").split()
                pair = [order.index(entry[shared]) for entry in (there, here) if entry[shared] in order]
                if pair != sorted(pair):
                    wrong.append(f"{'.'.join(here)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "ctonnx"])
def test_package_opens_with_the_map_of_its_modules(room: str) -> None:
    """`__init__.py` is a docstring with a line for each entry, in the order of `ROOMS`; `ctonnx.images` re-exports."""
    tree = ast.parse((folder_of(room) / "__init__.py").read_text(encoding="utf-8"))
    lines = [line.split() for line in (ast.get_docstring(tree) or "").splitlines()[2:] if line.strip()]
    order = ROOMS[room].split()
    assert [words[0].rstrip("/") for words in lines[: len(order)]] == order
    assert all(len(words) > 1 for words in lines)
    assert len(tree.body) == 1 or room == "ctonnx.images"


def test_runtime_imports_nothing_but_its_four_libraries() -> None:
    # Imported only for DICOM files, files that Pillow does not read correctly, for DICOM objects of results,
    # and by `ctonnx serve`.
    dicom = set((PACKAGES["ctonnx"] / "images/dicom").rglob("*.py"))
    raw = PACKAGES["ctonnx"] / "images/raster/raw_samples.py"
    pacs = set((PACKAGES["ctonnx"] / "server/pacs").rglob("*.py"))
    server = set((PACKAGES["ctonnx"] / "server").rglob("*.py")) - pacs
    calls = set((PACKAGES["ctonnx"] / "server/grpc").rglob("*.py"))
    # Imported only by `ctonnx sign` and for `--trust`.
    signing = {PACKAGES["ctonnx"] / f"artifacts/provenance/{name}.py" for name in ("keys", "trust", "signing")}
    rest = set(PACKAGES["ctonnx"].rglob("*.py")) - server - pacs - dicom - signing - {raw}

    def libraries(files: Iterable[Path]) -> set[str]:
        return {name for file in files for name in imports(file)} - set(sys.stdlib_module_names) - {"ctonnx"}

    assert libraries(rest) == RUNTIME_LIBRARIES
    assert libraries(signing) == {"cryptography", "model_signing"}
    assert libraries(dicom) == {"PIL", "imagecodecs", "numpy", "pydicom"}
    assert libraries({raw}) == {"PIL", "imagecodecs", "numpy", "tifffile"}
    page = PACKAGES["ctonnx"] / "server/pacs/node/page.py"  # imported only for the node's page
    assert libraries({page}) == {"prometheus_client", "starlette", "uvicorn"}
    of_nodes = {"PIL", "dicomweb_client", "highdicom", "numpy", "pydicom", "pynetdicom", "requests"}
    assert libraries(pacs - {page}) == of_nodes
    assert libraries(calls) == {"google", "grpc", "numpy", "starlette"}  # imported only for `--grpc-port`
    assert libraries(server - calls) == {
        "PIL",
        "h11",
        "numpy",
        "prometheus_client",
        "python_multipart",
        "starlette",
        "uvicorn",
    }


def test_pydicom_is_imported_only_where_dicom_files_are_read_drawn_or_made() -> None:
    users = {file for folder in PACKAGES.values() for file in folder.rglob("*.py") if "pydicom" in imports(file)}
    rooms = [PACKAGES["ctonnx"] / name for name in ("images/dicom", "server/pacs")]
    of_rooms = {file for file in users if any(file.is_relative_to(room) for room in rooms)}
    others = {PACKAGES["ctonnx_train"] / "data/phantom/dicom_series.py"}
    assert users - of_rooms == others | {PACKAGES["ctonnx_bench"] / "experiments/serving/pacs_node.py"}


def test_export_uses_the_training_packages_data_network_and_checkpoint_only() -> None:
    used = {
        node.module
        for file in PACKAGES["ctonnx_export"].rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ctonnx_train")
    }
    assert used == {
        f"ctonnx_train.{name}"
        for name in (
            "data.image_folder",
            "data.pixel_store",
            "data.sources",
            "data.splits",
            "network.classifier",
            "network.novelty",
            "network.openmp",
            "runs.checkpoint",
        )
    }


def test_modules_open_with_a_sentence_stay_rooms_and_list_their_public_names() -> None:
    """Every public name of a module is in its `__all__`, and every name there exists."""
    faults = []
    for module in MODULES:
        loaded = importlib.import_module(module)
        text = Path(str(loaded.__file__)).read_text(encoding="utf-8")
        tree = ast.parse(text)
        opening = (ast.get_docstring(tree) or "").partition("\n")[0]
        lines = len(text.splitlines())
        if not opening.endswith((".", ":")):
            faults.append(f"{module} opens with {opening!r}")
        if lines > 400:
            faults.append(f"{module} has {lines} lines")
        public = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        }
        if not public and not hasattr(loaded, "__all__"):
            continue
        listed = getattr(loaded, "__all__", [])
        if len(set(listed)) < len(listed):
            faults.append(f"{module} lists a name twice: {sorted(listed)}")
        if unlisted := public - set(listed):
            faults.append(f"{module} does not list {sorted(unlisted)}")
        if unknown := [name for name in listed if not hasattr(loaded, name)]:
            faults.append(f"{module} lists what it does not have: {unknown}")
    assert not faults, "\n".join(faults)


def loaded_by(statement: str, cwd: Path) -> list[str]:
    """Runs a statement in a fresh interpreter and returns the names of the modules that were loaded."""
    report = "sys.stderr.write('\\n' + json.dumps(list(sys.modules)))"
    code = f"import sys, json\ntry:\n    {statement}\nfinally:\n    {report}"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stderr.rpartition("\n")[2])
    return modules


def command(*words: str) -> str:
    return f"sys.argv = ['ctonnx', *{words!r}]; from ctonnx.cli.main import main; main()"


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
        ("compress", "--help"),
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


@pytest.mark.parametrize("name", ["train", "evaluate", "data", "predict", "serve"])
def test_help_of_a_command_loads_neither_numpy_nor_pillow(name: str, tmp_path: Path) -> None:
    assert {"numpy", "PIL"} & set(loaded_by(command(name, "--help"), tmp_path)) == set()


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


def test_command_reference_is_that_of_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/write_commands.py", "--print"], check=True, capture_output=True, text=True
    )
    assert (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8") == done.stdout, "run: make docs"


def test_readme_names_every_command_and_no_other() -> None:
    from ctonnx.cli.main import _COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:\$ |`)ctonnx (\w+)", readme)) == set(_COMMANDS)


def test_changelog_has_an_entry_for_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_of_the_tests_do_nothing_when_they_are_imported() -> None:
    """Pytest imports all of them, for their doctests, in each of its processes."""
    faults = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not re.search(r"^\w+\s*\(", text, re.MULTILINE):
            continue  # as in most files: to parse all of them takes seconds
        for statement in ast.parse(text).body:
            match statement:
                case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
                    faults.append(f"{file.relative_to(ROOT)}: {name}(); put it below: if __name__ == '__main__':")
    assert not faults, "\n".join(faults)


def test_every_source_file_has_its_tests() -> None:
    """`runtime/ctonnx/images/modes.py` has `tests/runtime/images/test_modes.py`, or `test_modes_*.py` next to it."""
    missing = []
    for folder in PACKAGES.values():
        for file in folder.rglob("*.py"):
            place = ROOT / "tests" / folder.parent.name / file.relative_to(folder).parent
            if file.stem not in UNTESTED and not [
                *place.glob(f"test_{file.stem}.py"),
                *place.glob(f"test_{file.stem}_*.py"),
            ]:
                missing.append(str(file.relative_to(ROOT)))
    assert missing == []
