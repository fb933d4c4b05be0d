"""Types of the precisions, metrics, data and gates in a spec, a run's record and a report.

`ctonnx.artifacts.json_schema` checks the fields named here and keeps all others unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Required, TypeAlias, TypedDict, get_args

from ctonnx.artifacts.json_schema import Between, Length

__all__ = [
    "PRECISIONS",
    "TARGETS",
    "ClassMetrics",
    "Count",
    "Coverage",
    "Data",
    "DecisionMetrics",
    "GateBounds",
    "Leaked",
    "Metrics",
    "PatientMetrics",
    "Precision",
    "QuantizationFacts",
    "Share",
    "Shortcut",
    "Shortcuts",
    "Split",
    "Target",
    "TrainingPatients",
    "Verdict",
]

Share: TypeAlias = Annotated[float, Between(0, 1)]
"""A share, 0 to 1."""

Count: TypeAlias = Annotated[int, Between(0)]
"""A number of things, 0 or more."""

Split: TypeAlias = Literal["train", "valid", "test"]
"""A split of a dataset."""

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions of exported models. FP32 is always exported: the others are made from it and compared with it."""

Target: TypeAlias = Literal["x86", "amx", "arm", "tensorrt"]

TARGETS: tuple[Target, ...] = get_args(Target)
"""Processors that an INT8 model can be quantized for. `amx` is x86 processors with AMX."""


class Leaked(TypedDict, total=False):
    """`data.leaks`: numbers of files with a copy in the same dataset."""

    groups: Required[Count]
    files: Required[Count]
    groups_across_splits: Required[Count]
    files_across_splits: Required[Count]
    groups_with_several_labels: Required[Count]
    files_with_several_labels: Count
    leaked: Required[Mapping[Split, Count]]
    dropped: Required[Mapping[Split, Count]]


class TrainingPatients(TypedDict, total=False):
    """`data.patients`: source of the patients, their number in each split, and the names of the subgroups."""

    origin: str
    patients: Mapping[Split, Count]
    subgroups: Sequence[str]


class Data(TypedDict, total=False):
    """`data`: training data of a model."""

    name: str
    fingerprint: str
    images: Mapping[Split, Mapping[str, Count]]
    leaks: Leaked
    labels: str | None
    patients: TrainingPatients | None
    folds: Count


class ClassMetrics(TypedDict, total=False):
    """Metrics of one class."""

    images: Count
    precision: Share | None
    sensitivity: Share | None
    specificity: Share | None
    f1: Share | None
    auroc: Share | None


_Interval: TypeAlias = Annotated[Sequence[Share], Length(2)] | None
"""Interval of a share, from low to high."""


class Coverage(TypedDict):
    """`decisions.coverage`: share of a class's images that have their class in the prediction set."""

    share: Share | None
    share_interval: _Interval
    images: Count
    promised: Share | None


class DecisionMetrics(TypedDict, total=False):
    """`decisions`: metrics of the decisions on the images of one split."""

    images: Required[Count]
    referred: Required[Count]
    referred_share: Required[Share | None]
    referred_share_interval: Required[_Interval]
    referred_by: Required[Mapping[str, Count]]
    sensitivity: Required[Share | None]
    sensitivity_interval: Required[_Interval]
    sensitivity_images: Required[Count]
    specificity: Required[Share | None]
    specificity_interval: Required[_Interval]
    specificity_images: Required[Count]
    coverage: Mapping[str, Coverage]


class _Area(TypedDict):
    value: Share | None
    interval: _Interval


class _PatientShares(TypedDict, total=False):
    sensitivity: Required[Share | None]
    sensitivity_interval: Required[_Interval]
    sensitivity_patients: Required[Count]
    specificity: Required[Share | None]
    specificity_interval: Required[_Interval]
    specificity_patients: Required[Count]


class _PatientDecisions(_PatientShares, total=False):
    referred: Required[Count]
    referred_share: Required[Share | None]
    referred_share_interval: Required[_Interval]


class PatientMetrics(TypedDict, total=False):
    """`patients`: metrics of the patients of one split, as far as they are read again."""

    count: Required[Count]
    auroc: _Area | None
    suspicious: _PatientShares | None
    decisions: _PatientDecisions | None


class Metrics(TypedDict, total=False):
    """Metrics on the images of one split, as far as they are read again."""

    images: Count
    accuracy: Share | None
    balanced_accuracy: Share | None
    ece: Share | None
    macro: Mapping[str, Share | None]
    per_class: Mapping[str, ClassMetrics]
    decisions: DecisionMetrics | None
    patients: PatientMetrics | None


class GateBounds(TypedDict, total=False):
    """`gate`: bounds of a model, as in `ctonnx.parity.acceptance_gates.Gate`."""

    max_dp: Required[Annotated[float, Between(0)]]
    min_agreement: Required[Share]
    max_drop: Share | None
    min_heatmap_correlation: Annotated[float, Between(-1, 1)]
    max_dnovelty: Annotated[float, Between(0)] | None
    min_novelty_correlation: Annotated[float, Between(-1, 1)] | None
    min_novelty_agreement: Share | None
    min_decision_agreement: Share | None


Verdict: TypeAlias = Literal["none", "untested", "some", "strong"]
"""Strength of the association of an image's facts, none of which is anatomy, with its class.

`untested` if there are too few images of a class.
"""


class Shortcut(TypedDict, total=False):
    """`shortcuts.classes`: facts of an image that distinguish one class from the rest."""

    verdict: Required[Verdict]
    images: Count
    auroc: Share | None
    auroc_interval: Annotated[Sequence[Share], Length(2)] | None
    p_value: Share | None
    auroc_by_kind: Mapping[str, Share]
    facts: Sequence[str]


class Shortcuts(TypedDict, total=False):
    """`shortcuts`: facts of an image that are not anatomy, such as its size, but distinguish its class.

    They are those of the images as they are in their files or of the network's input; unknown in older files.
    """

    verdict: Required[Verdict]
    classes: Required[Mapping[str, Shortcut]]
    audited: Literal["files", "input"]
    images: Count
    groups: Count
    permutations: Count


class QuantizationFacts(TypedDict, total=False):
    """`quantization`: quantization scheme of an INT8 model, as far as it is read again."""

    target: str
