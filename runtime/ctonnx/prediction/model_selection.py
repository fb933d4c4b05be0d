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

from ctonnx.artifacts.onnx_file.metadata import read_spec_facts
from ctonnx.artifacts.run import RUNS, Run, exported_files, find_run, names_a_file, trained_runs
from ctonnx.errors import ModelError
from ctonnx.inference.providers import PROVIDERS, Provider, int8_targets
from ctonnx.system.cpu import architecture

__all__ = ["NewestExport", "find_model", "find_models", "newest_export"]


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


def newest_export(root: Path = RUNS) -> NewestExport:
    """Returns the run below `root` that was trained last of those that have an export.

    Raises:
        ModelError: there is no run, or none has an export.
    """
    trained = trained_runs(root)
    exported = [run for run in trained if run.has_export]
    if not exported:
        raise _no_model(trained[-1].export_folder)
    return NewestExport(exported[-1], len(exported), None if exported[-1] == trained[-1] else trained[-1])


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
    if names_a_file(model):
        return model
    folder = _export_folder(model, root)
    if file := _preferred(folder, provider):
        return file
    if others := exported_files(folder):
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
    if names_a_file(model):
        return [model]
    folder = _export_folder(model, root)
    if files := exported_files(folder):
        return files
    raise _no_model(folder)


def _no_model(folder: Path) -> ModelError:
    return ModelError(
        f"expected an exported model in '{folder}', found none; make one with: ctonnx export {folder.parent}"
    )


def _export_folder(model: Path | None, root: Path) -> Path:
    """Returns the folder itself where it holds exported models, or that of the run which is meant."""
    if model is None:
        return newest_export(root).run.export_folder
    if exported_files(model):
        return model
    if model.is_dir() and not Run(model).has_checkpoint:
        raise ModelError(
            f"expected exported models (model.fp32.onnx) or a run (model.safetensors) in '{model}', found neither; "
            "name an .onnx file, a run or the folder that ctonnx export wrote"
        )
    return find_run(model, root).export_folder
