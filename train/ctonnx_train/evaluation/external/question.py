"""The question that a model and data with other classes share, that is, whether the scan is suspicious."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.text import quoted
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.evaluation.evaluate import names_in
from ctonnx_train.evaluation.fitting.threshold import NEGATIVE_CLASSES

__all__ = ["Question", "choose_question", "read_any_classes"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Classes of the data that are positive, those that are negative, and those that are left out."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The two sides in words."""
        sides = f"positive: {', '.join(self.positive) or 'none'}; negative: {', '.join(self.negative) or 'none'}"
        return f"{sides}; left out: {', '.join(self.left_out)}" if self.left_out else sides


def read_any_classes(
    data: Path,
    class_names: Mapping[str, str] | None,
    labels: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Dataset:
    """Reads a dataset of any classes, one or more; see `ctonnx_train.data.image_folder.read_data`."""
    given = dict(class_names or {})
    classes = sorted({*names_in(data, labels), *given.values()})
    return read_data(data, class_names=given, classes=classes, labels=labels, pseudonyms=pseudonyms)


def choose_question(data: Dataset, positive: Sequence[str] = (), negative: Sequence[str] = ()) -> Question:
    """Returns the sides of a dataset's classes.

    Without names, `NEGATIVE_CLASSES` are negative and all others positive. If only one side is named, all other classes
    are on the other side; if both are, the others are left out. A named class may have no scans if all classes that
    have some are named.

    Args:
        data: Dataset with at least one image.
        positive: Names of positive classes or their folders; one text may have several, separated by commas.
        negative: Names of negative classes, in the same way.

    Raises:
        DataError: If a class does not exist, or is on both sides.
    """
    present = sorted({data.classes[sample.label] for sample in data.samples})
    named = {"--positive": _named(positive, data, present), "--negative": _named(negative, data, present)}
    if both := named["--positive"] & named["--negative"]:
        raise DataError(f"expected each class on one side, found '{min(both)}' in --positive and in --negative")
    rest = set(present) - named["--positive"] - named["--negative"]
    for option, names in named.items():
        if rest and (unknown := names - set(present)):
            raise DataError(
                f"expected {option} to name one of the classes {quoted(present)} of '{data.root}', found "
                f"'{min(unknown)}'"
            )
    if not positive and not negative:
        named["--negative"] = rest & set(NEGATIVE_CLASSES)
        named["--positive"], rest = rest - set(NEGATIVE_CLASSES), set()
    elif not (positive and negative):
        named["--negative" if positive else "--positive"], rest = rest, set()
    sides = [tuple(name for name in present if name in side) for side in (*named.values(), rest)]
    return Question(positive=sides[0], negative=sides[1], left_out=sides[2])


def _named(texts: Sequence[str], data: Dataset, present: Sequence[str]) -> set[str]:
    """Returns the canonical names of the classes that an option names."""
    names = [
        name.strip()
        for text in texts
        for name in ([text] if text in {*present, *data.folder_classes} else text.split(","))
    ]
    return {data.folder_classes.get(name, name) for name in names if name}
