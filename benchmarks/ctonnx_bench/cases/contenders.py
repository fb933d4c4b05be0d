"""Contenders of a benchmark: the exported models, and the peers that can run their network on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ctonnx.artifacts.run import Run, find_run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ModelError
from ctonnx.inference.session import open_session, read_spec
from ctonnx.prediction.model_selection import find_models
from ctonnx.system.files import sha256_of
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, OWN

__all__ = ["Contender", "Model", "find_peers", "for_target", "own", "read_files", "read_models", "run_of"]


@dataclass(frozen=True)
class Model:
    """Exported `.onnx` file, its metadata, hash, and size in bytes."""

    path: Path
    spec: ModelSpec
    sha256: str
    size: int

    @property
    def target(self) -> str | None:
        """Target of the quantization; None for a model in floating point."""
        return (self.spec.quantization or {}).get("target")

    def as_dict(self) -> dict[str, Any]:
        """Returns the entries for the report."""
        return {
            "file": str(self.path),
            "name": self.spec.name,
            "precision": self.spec.precision,
            "target": self.target,
            "classes": list(self.spec.classes),
            "image_size": self.spec.preprocessing.size,
            "sha256": self.sha256,
            "checkpoint_sha256": self.spec.checkpoint_sha256,
            "bytes": self.size,
        }


@dataclass(frozen=True)
class Contender:
    """Network, its adapter of `ADAPTERS`, the precision whose gate its outputs must pass, and its size in bytes."""

    title: str
    adapter: str
    model: Path
    precision: str
    size: int

    @property
    def own(self) -> bool:
        """Whether it is ctonnx, not a peer."""
        return self.adapter == OWN


def read_files(names: Sequence[Path]) -> list[Model]:
    """Returns the exported files of `.onnx` files, folders of them, or runs; default: the newest run with an export.

    Raises:
        ModelError: If a file is missing or damaged.
    """
    files = dict.fromkeys(file for name in (names or (None,)) for file in find_models(name))
    return [_read(file) for file in files]


def read_models(names: Sequence[Path]) -> list[Model]:
    """Returns the files of `read_files`, all of one checkpoint.

    Raises:
        ModelError: If a file is missing or damaged, or the files are not all of one checkpoint, so that their outputs
            cannot be compared.
    """
    models = read_files(names)
    first = models[0]
    for model in models[1:]:
        if model.spec.checkpoint_sha256 != first.spec.checkpoint_sha256:
            raise ModelError(
                f"expected models of one checkpoint, whose outputs can be compared, found '{first.path}' of "
                f"{first.spec.checkpoint_sha256[:12]} and '{model.path}' of {model.spec.checkpoint_sha256[:12]}; "
                "measure them separately"
            )
    return models


def run_of(models: Sequence[Model], reference: Path | None) -> Run | None:
    """Returns the run that the models were exported from: `reference`, or else the run that contains them.

    Raises:
        ModelError: If `reference` is not a run, or another one.
    """
    wanted = models[0].spec.checkpoint_sha256
    if reference is not None:
        run = find_run(reference)
        if (found := sha256_of(run.weights_file)) != wanted:
            raise ModelError(
                f"expected the run of checkpoint {wanted[:12]} for --reference, found '{run.folder}' with checkpoint "
                f"{found[:12]}; name the run that the models were exported from"
            )
        return run
    run = Run(models[0].path.resolve().parent.parent)
    return run if run.has_checkpoint and sha256_of(run.weights_file) == wanted else None


def own(models: Sequence[Model]) -> list[Contender]:
    """Returns a contender for each model; titles of files of one precision and target include their paths."""
    titles = [for_target(f"ctonnx {model.spec.precision.upper()}", model.target) for model in models]
    return [
        Contender(
            title if titles.count(title) == 1 else f"{title} ({model.path})",
            OWN,
            model.path.resolve(),
            model.spec.precision,
            model.size,
        )
        for title, model in zip(titles, models, strict=True)
    ]


def for_target(name: str, target: str | None) -> str:
    """Returns a model's name with its target; x86, the default, is left out as in reports from before targets.

    >>> for_target("ctonnx INT8", "amx"), for_target("ctonnx INT8", "x86")
    ('ctonnx INT8 for amx', 'ctonnx INT8')
    """
    return name if target in (None, "x86") else f"{name} for {target}"


def find_peers(
    names: Sequence[str], models: Sequence[Model], run: Run | None, provider: str
) -> tuple[list[Contender], dict[str, str]]:
    """Returns the peers of `PEERS` that can run here, and the reason for each other one.

    Peers that read a file use FP32, or the first INT8 file of the models; PyTorch reads the checkpoint of `run`.
    """
    found: list[Contender] = []
    skipped: dict[str, str] = {}
    fp32 = next((model for model in models if model.spec.precision == "fp32"), None)
    if fp32 is None and (beside := models[0].path.with_name("model.fp32.onnx")).is_file():
        fp32 = _read(beside)
    int8 = next((model for model in models if model.spec.precision == "int8"), None)
    for name in names:
        adapter = ADAPTERS[name]
        if missing := [module for module in adapter.needs if not find_spec(module)]:
            skipped[adapter.title] = f"{', '.join(missing)} not installed; pip install {adapter.install}"
        elif adapter.peer_provider(provider) is None:
            skipped[adapter.title] = f"it does not run on {provider} here, only on {', '.join(adapter.providers)}"
        elif adapter.precision == "fp16" and all(model.spec.precision != "fp16" for model in models):
            skipped[adapter.title] = "it is compared with an FP16 model, and none is measured"
        elif adapter.model == "run" and run is None:
            skipped[adapter.title] = "the models are not in the run of their checkpoint; name it with --reference RUN"
        elif adapter.model == "int8" and int8 is None:
            skipped[adapter.title] = "it runs an INT8 model, and none is measured"
        elif adapter.model == "file" and fp32 is None:
            skipped[adapter.title] = "no model.fp32.onnx beside the models; ctonnx export makes it"
        else:
            file = int8 if adapter.model == "int8" else fp32
            path = run.weights_file if adapter.model == "run" and run else file.path if file else Path()
            model = run.folder if adapter.model == "run" and run else path
            found.append(
                Contender(adapter.title, name, model.resolve(), adapter.precision or "fp32", path.stat().st_size)
            )
    return found, skipped


def _read(file: Path) -> Model:
    spec = read_spec(open_session(file, optimize=False), str(file))
    return Model(file, spec, sha256_of(file), file.stat().st_size)
