"""What a spec, a run's record and a report must have of their figures, so that whoever reads them need not look.

The types say what `ctonnx.artifacts.json_schema` checks; what they do not name is kept as it is.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Required, TypeAlias, TypedDict

from ctonnx.artifacts.json_schema import Between

__all__ = ["ClassFigures", "Count", "Data", "GateBounds", "Leaked", "Metrics", "QuantizationFacts", "Share", "Split"]

Share: TypeAlias = Annotated[float, Between(0, 1)]
"""A share, 0 to 1."""

Count: TypeAlias = Annotated[int, Between(0)]
"""How many there are."""

Split: TypeAlias = Literal["train", "valid", "test"]
"""A part of a data set."""


class Leaked(TypedDict, total=False):
    """`data.leaks`: how many files of a data set have a copy in it."""

    groups: Required[Count]
    files: Required[Count]
    groups_across_splits: Required[Count]
    files_across_splits: Required[Count]
    groups_with_several_labels: Required[Count]
    files_with_several_labels: Count
    leaked: Required[Mapping[Split, Count]]
    dropped: Required[Mapping[Split, Count]]


class Data(TypedDict, total=False):
    """`data`: what a model was trained on."""

    name: str
    fingerprint: str
    images: Mapping[Split, Mapping[str, Count]]
    leaks: Leaked


class ClassFigures(TypedDict, total=False):
    """The figures of one class."""

    images: Count
    precision: Share | None
    sensitivity: Share | None
    specificity: Share | None
    f1: Share | None
    auroc: Share | None


class Metrics(TypedDict, total=False):
    """The figures on the images of one split, as far as they are read again."""

    images: Count
    accuracy: Share | None
    balanced_accuracy: Share | None
    ece: Share | None
    macro: Mapping[str, Share | None]
    per_class: Mapping[str, ClassFigures]


class GateBounds(TypedDict, total=False):
    """`gate`: the bounds that a model had to keep, as in `ctonnx.parity.gates.Gate`."""

    max_dp: Required[Annotated[float, Between(0)]]
    min_agreement: Required[Share]
    max_drop: Share | None
    min_heatmap_correlation: Annotated[float, Between(-1, 1)]


class QuantizationFacts(TypedDict, total=False):
    """`quantization`: how an INT8 model was made, as far as it is read again."""

    target: str
