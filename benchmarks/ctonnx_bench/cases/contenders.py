"""Who is measured: the exported models that are meant, and the peers that can run their network here."""

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

__all__ = ["Contender", "Model", "find_peers", "for_target", "own", "read_models", "run_of"]


@dataclass(frozen=True)
class Model:
    """An exported file.

    Attributes:
        path: The `.onnx` file.
        spec: what it says about itself.
        sha256: of the file.
        size: in bytes.
    """

    path: Path
    spec: ModelSpec
    sha256: str
    size: int

    @property
    def target(self) -> str | None:
        """What an INT8 model was quantized for; None for one in floating point."""
        return (self.spec.quantization or {}).get("target")

    def as_dict(self) -> dict[str, Any]:
        """Returns what the report keeps of it."""
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
    """A network behind an adapter.

    Attributes:
        title: of its rows.
        adapter: A name of `ADAPTERS`.
        model: what the adapter is given.
        precision: whose gate its answers must pass.
        size: of its files, in bytes.
    """

    title: str
    adapter: str
    model: Path
    precision: str
    size: int

    @property
    def own(self) -> bool:
        """Whether it is ctonnx, and no peer."""
        return self.adapter == OWN


def read_models(names: Sequence[Path]) -> list[Model]:
    """Returns every exported file that is meant; none named means those of the newest run with an export.

    Args:
        names: `.onnx` files, folders of them, or runs.

    Raises:
        ModelError: One is missing or damaged, or they are not all of one checkpoint, so that no answers could be
            compared.
    """
    files = dict.fromkeys(file for name in (names or (None,)) for file in find_models(name))
    models = [_read(file) for file in files]
    first = models[0]
    for model in models[1:]:
        if model.spec.checkpoint_sha256 != first.spec.checkpoint_sha256:
            raise ModelError(
                f"expected models of one checkpoint, whose answers can be compared, found '{first.path}' of "
                f"{first.spec.checkpoint_sha256[:12]} and '{model.path}' of {model.spec.checkpoint_sha256[:12]}; "
                "measure them one after the other"
            )
    return models


def run_of(models: Sequence[Model], reference: Path | None) -> Run | None:
    """Returns the run that the models were exported from: the one that is named, or the one that they lie in.

    Raises:
        ModelError: The named one is no run, or another one.
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
    """Returns ctonnx with each model; files of one precision and target are told apart by their names."""
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
    """Returns what a model is called that was made for a processor; x86, which is the default, goes unsaid.

    Reports from before there were targets call it so, too.

    >>> for_target("ctonnx INT8", "amx"), for_target("ctonnx INT8", "x86")
    ('ctonnx INT8 for amx', 'ctonnx INT8')
    """
    return name if target in (None, "x86") else f"{name} for {target}"


def find_peers(
    names: Sequence[str], models: Sequence[Model], run: Run | None, provider: str
) -> tuple[list[Contender], dict[str, str]]:
    """Returns the peers that can run here, and for each of the others why it is skipped.

    Args:
        names: of `PEERS`.
        models: Exported files; a peer that reads one is given FP32.
        run: whose checkpoint PyTorch reads.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
    """
    found: list[Contender] = []
    skipped: dict[str, str] = {}
    whole = next((model for model in models if model.spec.precision == "fp32"), None)
    if whole is None and (beside := models[0].path.with_name("model.fp32.onnx")).is_file():
        whole = _read(beside)
    for name in names:
        adapter = ADAPTERS[name]
        if missing := [module for module in adapter.needs if not find_spec(module)]:
            skipped[adapter.title] = f"{', '.join(missing)} not installed; pip install {adapter.install}"
        elif adapter.place(provider) is None:
            skipped[adapter.title] = f"it does not run on {provider} here, only on {', '.join(adapter.providers)}"
        elif adapter.precision == "fp16" and all(model.spec.precision != "fp16" for model in models):
            skipped[adapter.title] = "no FP16 model is measured, beside which it would be"
        elif adapter.model == "run" and run is None:
            skipped[adapter.title] = "no run with the models' checkpoint lies beside them; name it with --reference RUN"
        elif adapter.model == "file" and whole is None:
            skipped[adapter.title] = "no model.fp32.onnx lies beside the models; ctonnx export makes it"
        else:
            path = run.weights_file if adapter.model == "run" and run else whole.path if whole else Path()
            model = run.folder if adapter.model == "run" and run else path
            found.append(
                Contender(adapter.title, name, model.resolve(), adapter.precision or "fp32", path.stat().st_size)
            )
    return found, skipped


def _read(file: Path) -> Model:
    spec = read_spec(open_session(file, optimize=False), str(file))
    return Model(file, spec, sha256_of(file), file.stat().st_size)
