"""Models of a family and their names in the report: different files with the same classes and preprocessing."""

from collections.abc import Sequence
from pathlib import Path

from ctonnx.errors import ModelError
from ctonnx.system.text import counted, quoted
from ctonnx_bench.cases.adapters.adapter import OWN
from ctonnx_bench.cases.contenders import Contender, Model, for_target, read_files

__all__ = ["members_of", "read_family", "titles_of"]


def read_family(names: Sequence[Path]) -> list[Model]:
    """Returns the files of `.onnx` files, folders of them, or runs, each once, in this order.

    They may be of different checkpoints, such as a network and the pruned one. The default is all precisions of the
    newest run with an export.

    Raises:
        ModelError: If a file is missing or damaged, there is only one, or they have other classes or preprocessing, so
            that they do not classify the same images.
    """
    by_path: dict[Path, Model] = {}
    for model in read_files(names):
        by_path.setdefault(model.path.resolve(), model)
    first, *others = models = list(by_path.values())
    if not others:
        raise ModelError(
            f"expected two or more models for --family, found '{first.path}' only; name more files or runs, such as "
            "those that ctonnx export and ctonnx compress made"
        )
    for model in others:
        for what, expected, found in (
            ("with the classes", quoted(first.spec.classes), quoted(model.spec.classes)),
            ("for images of", _size(first), _size(model)),
            ("with", first.spec.preprocessing, model.spec.preprocessing),
            ("with", first.spec.dicom_window, model.spec.dicom_window),
        ):
            if expected != found:
                raise ModelError(
                    f"expected models {what} {expected}, as '{first.path}', found {found} in '{model.path}'; a family "
                    "classifies the same images: name exports of one network, or of networks compressed from it"
                )
    return models


def members_of(models: Sequence[Model], names: Sequence[str] = ()) -> list[Contender]:
    """Returns a contender for each model, named as given or else by `titles_of`.

    Raises:
        ModelError: If the names are not one for each model, or not unique.
    """
    if names and (len(names) != len(models) or len(set(names)) != len(names)):
        files = quoted(str(model.path) for model in models)
        raise ModelError(
            f"expected {counted(len(models), 'different name')} for --names, found {quoted(names)}; the models are, "
            f"in this order: {files}"
        )
    return [
        Contender(title, OWN, model.path.resolve(), model.spec.precision, model.size)
        for title, model in zip(names or titles_of(models), models, strict=True)
    ]


def titles_of(models: Sequence[Model]) -> list[str]:
    """Returns a name for each model: its run, unless all are of one, and its precision with its target.

    Models that would have the same name also have the last part of their paths that distinguishes them.
    """
    is_one_run = len({model.spec.name for model in models}) == 1
    names = [
        for_target(f"{'' if is_one_run else f'{model.spec.name} '}{model.spec.precision.upper()}", model.target)
        for model in models
    ]
    titles = []
    for name, model in zip(names, models, strict=True):
        alike = [other.path.resolve() for own, other in zip(names, models, strict=True) if own == name]
        part = f" ({_distinct_part(model.path.resolve(), alike)})" if len(alike) > 1 else ""
        titles.append(name + part)
    return titles


def _distinct_part(path: Path, alike: Sequence[Path]) -> str:
    """Returns the file's name if it is different from all others, or else the fewest folders above it that are."""
    if len({other.name for other in alike}) == len(alike):
        return path.name
    deepest = max(len(other.parts) for other in alike)
    for depth in range(1, deepest):
        if len({other.parent.parts[-depth:] for other in alike}) == len(alike):
            return "/".join(path.parent.parts[-depth:])
    return str(path)


def _size(model: Model) -> str:
    return f"{model.spec.preprocessing.size} pixels"
