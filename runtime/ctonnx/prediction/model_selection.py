"""Model files that a command uses: those of a file, a folder, a run's name, or the newest run with an export."""

from dataclasses import dataclass
from pathlib import Path

from ctonnx.artifacts.onnx_file.metadata import read_spec_facts
from ctonnx.artifacts.run import RUNS, Run, exported_files, find_run, names_a_file, trained_runs
from ctonnx.errors import ModelError
from ctonnx.inference.providers import PROVIDERS, Provider, int8_targets
from ctonnx.system.cpu import architecture

__all__ = ["NewestExport", "export_folder", "find_model", "find_models", "newest_export"]


@dataclass(frozen=True)
class NewestExport:
    """Run whose models a command uses if the user names none.

    Attributes:
        run: Latest trained run with an export.
        exported: Number of runs with an export.
        newer: Latest trained run of all, if it has no export; else None.
    """

    run: Run
    exported: int
    newer: Run | None = None

    @property
    def description(self) -> str:
        """The run in words that follow the model's path."""
        if self.newer is None and self.exported == 1:
            return "the newest run's"
        which = "the only one" if self.exported == 1 else f"the newest of {self.exported}"
        return f"of run '{self.run.name}', {which} with an export"

    @property
    def note(self) -> str:
        """Note about the newer run without an export; empty if there is none."""
        if self.newer is None:
            return ""
        return (
            f"run '{self.newer.name}' was trained later and has no export, so '{self.run.name}' is used; "
            f"export it with: ctonnx export {self.newer.folder}"
        )


def newest_export(root: Path = RUNS) -> NewestExport:
    """Returns the latest trained run with an export below `root`.

    Raises:
        ModelError: If there is no run, or none has an export.
    """
    trained = trained_runs(root)
    exported = [run for run in trained if run.has_export]
    if not exported:
        raise _no_model(trained[-1].export_folder)
    return NewestExport(exported[-1], len(exported), None if exported[-1] == trained[-1] else trained[-1])


def _preferred(export_folder: Path, provider: Provider) -> Path | None:
    """Returns the model of an export folder that suits the provider best, or None."""
    for precision in PROVIDERS[provider].precisions if provider in PROVIDERS else ("fp32",):
        file = export_folder / f"model.{precision}.onnx"
        if file.is_file() and (precision != "int8" or _suits(file, provider)):
            return file
    return None


def _suits(file: Path, provider: Provider) -> bool:
    """Returns whether an INT8 model was quantized for the provider and this processor.

    Elsewhere it can be many times slower than FP32: a CPU does not fuse what TensorRT fuses. The target is read from
    the model file, as the report is often not copied with it.
    """
    quantization = read_spec_facts(file).get("quantization")
    target = quantization.get("target") if isinstance(quantization, dict) else None
    return target in int8_targets(provider, architecture())


def find_model(model: Path | None, *, provider: Provider = "cpu", root: Path = RUNS) -> Path:
    """Returns the `.onnx` file of a file, a folder, a run's name, or None, for the newest run with an export in `root`.

    Of several models, the one that suits the provider best is returned: on `cpu` INT8, if it was quantized for this
    kind of processor (models for AMX suit every x86), else FP32; on `tensorrt` INT8, if it was quantized for TensorRT,
    else FP16, else FP32; on `openvino` INT8, if it was quantized for x86, else FP32; on all others FP16, else FP32.
    Every file of an export has passed its gate. A named file is returned without these checks.

    Raises:
        ModelError: If there is no such model.
    """
    if names_a_file(model):
        return model
    folder = export_folder(model, root)
    if file := _preferred(folder, provider):
        return file
    if others := exported_files(folder):
        names = ", ".join(file.name for file in others)
        raise ModelError(
            f"expected a model for {provider} in '{folder}', found only {names}; name a file to use it anyway, or "
            "export the run again with --precision all"
        )
    raise _no_model(folder)


def find_models(model: Path | None, *, root: Path = RUNS) -> list[Path]:
    """Returns all `.onnx` files of what `find_model` takes: FP32 first, then FP16, then INT8.

    Raises:
        ModelError: If there is none.
    """
    if names_a_file(model):
        return [model]
    folder = export_folder(model, root)
    files = exported_files(folder)
    if not files:
        raise _no_model(folder)
    return files


def _no_model(folder: Path) -> ModelError:
    return ModelError(
        f"expected an exported model in '{folder}', found none; make one with: ctonnx export {folder.parent}"
    )


def export_folder(model: Path | None, root: Path = RUNS) -> Path:
    """Returns `model` if it contains exported models, else the export folder of the run that it names.

    Raises:
        ModelError: If it names neither, or is None and no run has an export.
    """
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
