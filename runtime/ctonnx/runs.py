"""Where a training run keeps its files, and which run and model a command means when it is not told.

runs/NAME/model.safetensors     the checkpoint
runs/NAME/run.json              settings, classes, data fingerprint, metrics
runs/NAME/metrics.csv           a row for each epoch
runs/NAME/evaluation/           figures and plots on the validation and test images
runs/NAME/last.ckpt             while the training is not finished: what it goes on from
runs/NAME/export/               the exported models, golden inputs and report
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ctonnx import schema
from ctonnx.errors import ModelError
from ctonnx.machine import architecture
from ctonnx.metadata import read_spec_facts
from ctonnx.providers import PROVIDERS, Provider, int8_targets

__all__ = ["RUNS", "NewestExport", "Run", "find_model", "find_models", "find_run", "newest_export", "newest_run"]

_NAME_ONE = (
    "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: --model FILE)"
)

RUNS = Path("runs")
"""The folder that holds the runs, below the working folder."""


@dataclass(frozen=True)
class Run:
    """A training run's folder.

    >>> Run(Path("runs/lungs")).model_file("fp32").as_posix()
    'runs/lungs/export/model.fp32.onnx'
    """

    folder: Path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.folder.resolve().name

    @property
    def weights_file(self) -> Path:
        """The checkpoint's weights."""
        return self.folder / "model.safetensors"

    @property
    def next_weights_file(self) -> Path:
        """The weights of a newer checkpoint, from before its record is written until they take the others' place."""
        return self.folder / "model.next.safetensors"

    @property
    def record_file(self) -> Path:
        """The run's settings, classes, data fingerprint and metrics."""
        return self.folder / "run.json"

    @property
    def splits_file(self) -> Path:
        """Which image stood in which split."""
        return self.folder / "splits.json"

    @property
    def plan_file(self) -> Path:
        """What the training was told, while it is not finished."""
        return self.folder / "plan.json"

    @property
    def last_file(self) -> Path:
        """The state that an unfinished training goes on from."""
        return self.folder / "last.ckpt"

    @property
    def metrics_file(self) -> Path:
        """A row for each epoch."""
        return self.folder / "metrics.csv"

    @property
    def evaluation_folder(self) -> Path:
        """Figures and plots on the validation and test images."""
        return self.folder / "evaluation"

    @property
    def export_folder(self) -> Path:
        """The exported models."""
        return self.folder / "export"

    def model_file(self, precision: str) -> Path:
        """The exported model of one precision, whether it exists or not."""
        return self.export_folder / f"model.{precision}.onnx"

    @property
    def has_export(self) -> bool:
        """Whether a model of it was exported."""
        return bool(_exported(self.export_folder))

    @property
    def has_checkpoint(self) -> bool:
        """Whether training finished and left a checkpoint."""
        return self.weights_file.is_file() and self.record_file.is_file()

    @property
    def created(self) -> str:
        """When the run was trained (ISO 8601, UTC), or an empty text where its record cannot be read."""
        try:
            return schema.load(_Created, self.record_file).created
        except (OSError, ValueError):
            return ""


@dataclass(frozen=True)
class _Created:
    created: str


@dataclass(frozen=True)
class NewestExport:
    """The run whose models a command takes that is given none, and what else it might have taken.

    Attributes:
        run: The run that was trained last of those that have an export.
        exported: The number of runs that have one.
        newer: The run that was trained last of all, where it has no export; else None.
    """

    run: Run
    exported: int
    newer: Run | None = None

    @property
    def words(self) -> str:
        """Which run it is, in words that follow the model's name."""
        if self.newer is None and self.exported == 1:
            return "the newest run's"
        which = "the only one" if self.exported == 1 else f"the newest of {self.exported}"
        return f"of run '{self.run.name}', {which} with an export"

    @property
    def note(self) -> str:
        """What is newer and was not taken, and how it would be; empty where nothing is."""
        if self.newer is None:
            return ""
        return (
            f"run '{self.newer.name}' was trained later and has no export, so that '{self.run.name}' was taken; "
            f"export it with: ctonnx export {self.newer.folder}"
        )


def newest_run(root: Path = RUNS) -> Run:
    """Returns the run below `root` that was trained last and has a checkpoint.

    Raises:
        ModelError: there is none.
    """
    return _trained(root)[-1]


def newest_export(root: Path = RUNS) -> NewestExport:
    """Returns the run below `root` that was trained last of those that have an export.

    Raises:
        ModelError: there is no run, or none has an export.
    """
    trained = _trained(root)
    exported = [run for run in trained if run.has_export]
    if not exported:
        raise _no_model(trained[-1].export_folder)
    return NewestExport(exported[-1], len(exported), None if exported[-1] == trained[-1] else trained[-1])


def _trained(root: Path) -> list[Run]:
    """Returns the runs below `root` that have a checkpoint, one at least, those trained last at the end."""
    candidates = [
        Run(folder) for folder in (root.iterdir() if root.is_dir() else ()) if not folder.name.startswith(".")
    ]
    trained = [run for run in candidates if run.has_checkpoint]
    if not trained:
        raise ModelError(f"expected a trained run below '{root}/' (in '{Path.cwd()}'), found none; {_NAME_ONE}")
    return sorted(trained, key=lambda run: (run.created, run.name))


def find_run(run: Path | None, root: Path = RUNS) -> Run:
    """Returns the run that is meant by a folder, by a name below `root`, or by None: the newest.

    Raises:
        ModelError: there is no such run, or it has no checkpoint.
    """
    if run is None:
        return newest_run(root)
    for found in (Run(run), Run(root / run)):
        if found.has_checkpoint:
            return found
    raise ModelError(
        f"expected a run's folder (with model.safetensors and run.json) at '{run}' or '{root / run}', found none; "
        f"{_NAME_ONE}"
    )


def _preferred(export_folder: Path, provider: Provider) -> Path | None:
    """Returns the model in an export folder that suits the provider best."""
    for precision in PROVIDERS[provider].precisions if provider in PROVIDERS else ("fp32",):
        file = export_folder / f"model.{precision}.onnx"
        if file.is_file() and (precision != "int8" or _suits(file, provider)):
            return file
    return None


def _suits(file: Path, provider: Provider) -> bool:
    """Says whether an INT8 model was quantized for what it would run on.

    Elsewhere it answers much the same and can be many times slower than FP32: what TensorRT fuses, a CPU does not. The
    file itself is asked, as the report is often left behind.
    """
    quantization = read_spec_facts(file).get("quantization")
    target = quantization.get("target") if isinstance(quantization, dict) else None
    return target in int8_targets(provider, architecture())


def find_model(model: Path | None, *, provider: Provider = "cpu", root: Path = RUNS) -> Path:
    """Returns the `.onnx` file that is meant by a file, a folder, a run's name, or None: `newest_export`'s.

    A folder is a run's, or one that holds exported models.

    Of several models, the one that suits the provider best is taken: on `cpu` INT8, if it was quantized for this kind
    of processor (AMX's is taken on every x86), else FP32; on `cuda`, `coreml` and `directml` FP16, else FP32; on
    `tensorrt` INT8, if it was quantized for it, else FP16, else FP32; on `openvino` INT8, if it was quantized for x86,
    else FP32. Every file in a run's export has passed its gate. A file that is named is taken, whatever it is.

    Raises:
        ModelError: there is no such model.
    """
    if _is_file(model):
        return model
    folder = _export_folder(model, root)
    if file := _preferred(folder, provider):
        return file
    if others := _exported(folder):
        names = ", ".join(file.name for file in others)
        raise ModelError(
            f"expected a model for {provider} in '{folder}', found {names} alone; name a file to take it all the same, "
            "or export the run again with --precision all"
        )
    raise _no_model(folder)


def find_models(model: Path | None, *, root: Path = RUNS) -> list[Path]:
    """Returns every `.onnx` file that is meant by a file, a folder, a run's name, or None: `newest_export`'s.

    A folder is a run's, or one that holds exported models. FP32 comes first, then FP16, then INT8.

    Raises:
        ModelError: there is none.
    """
    if _is_file(model):
        return [model]
    folder = _export_folder(model, root)
    if files := _exported(folder):
        return files
    raise _no_model(folder)


def _no_model(folder: Path) -> ModelError:
    return ModelError(
        f"expected an exported model in '{folder}', found none; make one with: ctonnx export {folder.parent}"
    )


def _is_file(model: Path | None) -> TypeGuard[Path]:
    return model is not None and (model.is_file() or model.suffix == ".onnx")


def _export_folder(model: Path | None, root: Path) -> Path:
    """Returns the folder itself where it holds exported models, or that of the run which is meant."""
    if model is None:
        return newest_export(root).run.export_folder
    if _exported(model):
        return model
    if model.is_dir() and not Run(model).has_checkpoint:
        raise ModelError(
            f"expected exported models (model.fp32.onnx) or a run (model.safetensors) in '{model}', found neither; "
            "name an .onnx file, a run or the folder that ctonnx export wrote"
        )
    return find_run(model, root).export_folder


def _exported(folder: Path) -> list[Path]:
    files = (folder / f"model.{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    return [file for file in files if file.is_file()]
