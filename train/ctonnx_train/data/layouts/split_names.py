"""Folder names of splits, folds and wrappers, as opposed to class names."""

import re
import unicodedata
from collections.abc import Collection
from typing import Literal, NamedTuple, TypeAlias

from ctonnx_train.data.splits import Split

__all__ = ["Part", "Role", "is_split", "is_wrapper", "part_of", "parts_of"]

Role: TypeAlias = Literal["train", "valid", "test", "fold", "several"]

_ROLES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "imagestr"), "train"),
    **dict.fromkeys(("valid", "validation", "validating", "val", "dev", "devel", "development"), "valid"),
    **dict.fromkeys(("test", "tests", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluation", "imagests"), "test"),
}
# Whole names that are splits only next to another split: a class may have such a name too.
_SHORT: dict[str, Split] = {
    "tr": "train",
    **dict.fromkeys(("va", "vl", "validate"), "valid"),
    **dict.fromkeys(("te", "ts"), "test"),
}
_GLUED = re.compile(
    r"(?:x|img|imgs|image|images|data)?"
    r"(train|training|trn|trainval|valid|validation|val|dev|test|testing|tst|holdout|eval|evaluation)"
    r"(?:x|set|sets|data|dataset|split|folder|dir|img|imgs|image|images|scan|scans|slice|slices|case|cases)?"
)
_HOLD_OUT = re.compile(r"\b(hold|held) outs?\b")
# Words without a meaning for the content of the images.
_FILLERS = re.compile(
    r"a|all|and|batch|blind|case|cases|clean|cleaned|complete|cropped|ct|cts|dataset|datasets|data|database|"
    r"dcm|dicom|dir|directory|dirs|external|fig|figs|file|files|final|folder|folders|full|hidden|image|images|"
    r"img|imgs|independent|internal|jpeg|jpg|kaggle|labeled|labelled|new|old|only|of|original|originals|part|"
    r"patients|patient|pic|pics|picture|pictures|png|pngs|portion|preprocessed|private|processed|public|raw|"
    r"resized|sample|samples|scan|scans|set|sets|slice|slices|split|splits|subset|subsets|the|tif|tiff|"
    r"unlabeled|unlabelled|zip"
)
_WRAPPERS = re.compile(r"data|dataset|datasets|image|images|img|imgs|scans|files|folder|pictures|set")
_FOLDS = re.compile(r"folds?|kfold|cv|crossval|crossvalidation|xval")
_PARTS = re.compile(r"split|subset|partition|part|batch|chunk|shard")
_MEANINGLESS = (_FILLERS, _FOLDS, _PARTS)
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)")


class Part(NamedTuple):
    """Role of a folder in a dataset, from its name.

    Attributes:
        role: Split; `fold` for one of several folds, `several` if the name contains several splits.
        rest: Other meaningful words of the name, such as the class in `covid_train`; may be empty.
        number: Digits in the name.
        is_strict: False for a fold named `part 1`, `split 1` or the like, which may mean something else.
    """

    role: Role
    rest: str
    number: str
    is_strict: bool = True


def part_of(name: str) -> Part | None:
    """Returns the role of a folder by its name, or None if the name is not a split's or a fold's.

    >>> part_of("Training_Set"), part_of("val_data").role, part_of("fold_1").role, part_of("covid_test").rest
    (Part(role='train', rest='', number='', is_strict=True), 'valid', 'fold', 'covid')
    >>> part_of("testicular"), part_of("train injury").rest
    (None, 'injury')
    """
    words = _words(name)
    roles: set[Role] = {role for word in words if (role := _role(word))}
    rest = [word for word in words if not _role(word) and not word.isdecimal()]
    strict = any(map(_FOLDS.fullmatch, rest))
    is_fold = strict or (not roles and any(map(_PARTS.fullmatch, rest)))
    number = "".join(word for word in words if word.isdecimal())
    labels = [word for word in words if len(word) == 1]
    rest = [word for word in rest if len(word) > 1 and not any(kind.fullmatch(word) for kind in _MEANINGLESS)]
    if is_fold and (number or (labels and strict)):
        return Part("fold", " ".join(rest), number or labels[0], strict)
    if not roles:
        return None
    if roles == {"train", "valid"}:  # images for development, to take the validation images from
        roles = {"train"}
    return Part(roles.pop() if len(roles) == 1 else "several", " ".join(rest), number)


def parts_of(names: Collection[str]) -> dict[str, Part]:
    """Returns the roles of sibling folders by their names, as `part_of` does.

    Short names, such as `tr` and `te`, are splits if the folders are of two or more splits. A short name of a split
    that also has a full name is a class.

    >>> sorted(parts_of(["tr", "te", "normal"])), sorted(parts_of(["te", "normal"])), sorted(parts_of(["train", "te"]))
    (['te', 'tr'], [], ['te', 'train'])
    """
    parts = {name: part for name in names if (part := part_of(name))}
    full = {part.role for part in parts.values() if not part.rest}
    keys = {name: unicodedata.normalize("NFKC", name).strip().lower() for name in names}
    short = {name: role for name in names if (role := _SHORT.get(keys[name])) and role not in full}
    if len(full | set(short.values())) > 1:
        parts |= {name: Part(role, "", "") for name, role in short.items()}
    return parts


def is_split(name: str) -> bool:
    """Returns whether a name is only a split's or a fold's, without other words.

    >>> is_split("Training_Set"), is_split("covid_test"), is_split("normal")
    (True, False, False)
    """
    part = part_of(name)
    return part is not None and not part.rest


def is_wrapper(name: str) -> bool:
    """Returns whether a name means only that there are images, such as `Data` or `images`.

    >>> is_wrapper("DATA"), is_wrapper("Images"), is_wrapper("normal")
    (True, True, False)
    """
    words = [word for word in _words(name) if not word.isdecimal()]
    return bool(words) and all(map(_WRAPPERS.fullmatch, words))


def _role(word: str) -> Split | None:
    glued = _GLUED.fullmatch(word)
    return _ROLES.get(word) or (_ROLES[glued[1]] if glued else None)


def _words(name: str) -> list[str]:
    """Returns the words of a name in lower case: `TrainImages` has two, `TESTset` one."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name))
    apart = " ".join(word if _role(word.lower()) else _BOUNDARY.sub(" ", word) for word in words)
    return _HOLD_OUT.sub("holdout", apart.lower()).split()
