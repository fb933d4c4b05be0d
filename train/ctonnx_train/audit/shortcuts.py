"""Shortcuts: whether the class of an image can be predicted from facts that are not anatomy.

A ridge regression on the facts alone predicts each class against the rest, cross-validated with copies, near duplicates
and groups kept together. Its AUROC is high where the facts distinguish the classes: a network may then have learned the
facts instead of the anatomy.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedGroupKFold

from ctonnx.artifacts.report_schema import Shortcut, Shortcuts, Verdict
from ctonnx_train.audit.facts import FACTS, Facts

__all__ = ["FEWEST_GROUPS", "MOST_IMAGES", "PERMUTATIONS", "STRONG", "find_shortcuts"]

PERMUTATIONS = 999
"""Permutations of an audit; the smallest p-value is 1 / (1 + permutations)."""

FEWEST_GROUPS = 10
"""Fewest groups of copies of a class, and of the rest, that are tested: two or more for each fold."""

MOST_IMAGES = 4000
"""Images that are tested, of larger datasets a random sample: the interval is then narrower than any threshold here."""

_FOLDS, _REPLICATES = 5, 1000
_SIGNIFICANT = 0.05  # of p-values, times the number of classes (Bonferroni), as one class is enough for a warning
# An AUROC of 0.7 to 0.8 is "acceptable discrimination" (Hosmer, Lemeshow and Sturdivant 2013,
# https://doi.org/10.1002/9781118548387): facts that reach it could pass for a model; 0.6 is half of the way there.
_SOME = 0.6  # lower end of the AUROC's interval
STRONG = 0.7
"""Lower end of the AUROC's interval from which on a shortcut is strong."""
_LISTED = 0.6  # AUROC of a single fact that is worth a sentence,
_ERRORS = 3  # and so many standard errors above chance
_BINS, _IMAGES_PER_BIN = 8, 20
_SHRINKAGE = 5.0  # ridge penalty: as much as five images with each of a fact's values
_LEVELS = 12  # values of a fact that is text; the rarer ones count as one
_COLUMNS = 1024  # permuted labels at a time
_ORDER: tuple[Verdict, ...] = ("none", "untested", "some", "strong")


@dataclass(frozen=True, kw_only=True)
class _Images:
    """The tested images: features [images, features], with the kind of each, labels and groups [images], and folds."""

    features: NDArray[np.float64]
    kinds: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def find_shortcuts(
    facts: Sequence[Facts],
    labels: Sequence[int],
    classes: Sequence[str],
    groups: Sequence[int],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Shortcuts:
    """Tests whether the facts of images predict their classes.

    A class's verdict is `strong` if the lower end of its AUROC's 95 % interval is 0.7 or more, `some` if it is 0.6 or
    more, both only if the p-value, times the number of classes, is 0.05 or less; else `none`. It is `untested` if the
    class, or the rest, has fewer than `FEWEST_GROUPS` groups. The verdict of the dataset is that of its worst class.

    Args:
        facts: Facts of each image.
        labels: Class index of each image.
        classes: Class names.
        groups: Number of each image's group: copies, near duplicates and, if known, the images of a patient.
        permutations: Number of permutations of the groups' labels; more with many classes.
        seed: Seed of the folds, the permutations and the bootstrap; the same seed gives the same result.
    """
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(labels))
    if len(chosen) > MOST_IMAGES:
        chosen = np.sort(rng.permutation(len(chosen))[:MOST_IMAGES])
    facts = [facts[row] for row in chosen.tolist()]
    y = np.array(labels, np.int64)[chosen]
    groups_of = np.unique(np.array(groups, np.int64)[chosen], return_inverse=True)[1] if len(chosen) else y
    tested = [label for label in range(len(classes)) if _has_enough(y == label, groups_of)]
    permutations = max(permutations, 2 * round(len(classes) / _SIGNIFICANT) - 1)
    found: dict[str, Shortcut] = {
        name: {"verdict": "untested", "images": int((y == label).sum()), "facts": []}
        for label, name in enumerate(classes)
    }
    if tested:
        features, kinds = _features(facts)
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(features, y, groups_of)
        images = _Images(features=features, kinds=kinds, labels=y, groups=groups_of, folds=list(folds))
        by_kind = _by_kind(images, tested)
        for label, (auroc, interval, p) in _tests(images, tested, permutations, rng):
            verdict: Verdict = "none"
            if p * len(classes) <= _SIGNIFICANT and interval[0] >= _SOME:
                verdict = "strong" if interval[0] >= STRONG else "some"
            found[classes[label]] = {
                "verdict": verdict,
                "images": int((y == label).sum()),
                "auroc": round(auroc, 4),
                "auroc_interval": [round(end, 4) for end in interval],
                "p_value": round(p, 6),
                "auroc_by_kind": by_kind[label],
                "facts": [] if verdict == "none" else _in_words(facts, y == label),
            }
    verdicts: list[Verdict] = [shortcut["verdict"] for shortcut in found.values()]
    return {
        "verdict": max(verdicts, key=_ORDER.index, default="untested"),
        "classes": found,
        "images": len(y),
        "groups": len(set(groups_of.tolist())),
        "permutations": permutations,
    }


def _has_enough(members: NDArray[np.bool_], groups: NDArray[np.int64]) -> bool:
    return min(len(set(groups[chosen].tolist())) for chosen in (members, ~members)) >= FEWEST_GROUPS


def _features(facts: Sequence[Facts]) -> tuple[NDArray[np.float64], list[str]]:
    """Returns [images, features], and the kind of each feature.

    Features are the rank of each fact, and indicators of its bins or texts and of its absence.
    """
    columns: list[NDArray[np.float64]] = []
    kinds: list[str] = []
    bins = int(np.clip(len(facts) // _IMAGES_PER_BIN, 2, _BINS))
    for name, fact in FACTS.items():
        values = [of.get(name) for of in facts]
        if len(set(values)) < 2:
            continue
        found = _of_numbers(values, bins) if fact.more else _of_texts(values)
        columns += found
        kinds += [fact.kind] * len(found)
    if not columns:
        return np.zeros((len(facts), 1)), [""]
    return np.stack(columns, axis=1), kinds


def _of_texts(values: Sequence[float | str | None]) -> list[NDArray[np.float64]]:
    counts = Counter(str(value) for value in values if value is not None)
    levels = sorted(counts, key=lambda text: (-counts[text], text))[:_LEVELS]
    return [np.array([value == level for value in values], float) for level in levels]


def _of_numbers(values: Sequence[float | str | None], bins: int) -> list[NDArray[np.float64]]:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    known = ~np.isnan(numbers)
    ranks = np.full(len(numbers), 0.5)
    ranks[known] = (rankdata(numbers[known]) - 0.5) / known.sum()
    edges = np.unique(np.quantile(ranks[known], np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, ranks)
    in_bins = [((place == number) & known).astype(float) for number in range(len(edges) + 1)]
    return [2 * ranks - 1, *in_bins, *([] if known.all() else [(~known).astype(float)])]


def _tests(
    images: _Images, tested: Sequence[int], permutations: int, rng: np.random.Generator
) -> Iterator[tuple[int, tuple[float, tuple[float, float], float]]]:
    """Yields AUROC, 95 % interval and p-value of each tested class."""
    truth = np.stack([images.labels == label for label in tested], axis=1)
    scores = _out_of_fold(images, truth)
    observed = _aurocs(scores, truth)
    above = np.zeros(len(tested))
    labels_of_groups = _majority(images)
    at_a_time = max(1, _COLUMNS // len(tested))
    for start in range(0, permutations, at_a_time):
        shuffled = [
            rng.permutation(labels_of_groups)[images.groups] for _ in range(min(at_a_time, permutations - start))
        ]
        permuted = np.concatenate([np.stack([of == label for label in tested], axis=1) for of in shuffled], axis=1)
        of_chance = _aurocs(_out_of_fold(images, permuted), permuted).reshape(-1, len(tested))
        above += (of_chance >= observed - 1e-12).sum(axis=0)
    weights = _bootstrap(images.groups, rng)
    for column, label in enumerate(tested):
        interval = _interval(scores[:, column], truth[:, column], weights)
        yield label, (float(observed[column]), interval, float((1 + above[column]) / (1 + permutations)))


def _by_kind(images: _Images, tested: Sequence[int]) -> dict[int, dict[str, float]]:
    """Returns the AUROC of each class from the facts of one kind alone."""
    truth = np.stack([images.labels == label for label in tested], axis=1)
    found: dict[int, dict[str, float]] = {label: {} for label in tested}
    for kind in dict.fromkeys(kind for kind in images.kinds if kind):
        features = images.features[:, [other == kind for other in images.kinds]]
        aurocs = _aurocs(_out_of_fold(replace(images, features=features), truth), truth)
        for label, auroc in zip(tested, aurocs, strict=True):
            found[label][kind] = round(float(auroc), 4)
    return found


def _out_of_fold(images: _Images, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the scores of each image by a regression on the other folds: [images, columns of `truth`]."""
    scores = np.zeros(truth.shape)
    for training, rest in images.folds:
        model = Ridge(alpha=_SHRINKAGE).fit(images.features[training], truth[training].astype(float))
        # Without the intercept, which has the share of the class in the other folds and so gives its own away.
        centered = images.features[rest] - images.features[training].mean(axis=0)
        scores[rest] = centered @ model.coef_.reshape(truth.shape[1], -1).T
    return scores


def _aurocs(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the AUROC of each column."""
    positive = truth.sum(axis=0)
    negative = len(truth) - positive
    ranks = (rankdata(scores, axis=0) * truth).sum(axis=0)
    found: NDArray[np.float64] = (ranks - positive * (positive + 1) / 2) / np.maximum(1, positive * negative)
    return found


def _majority(images: _Images) -> NDArray[np.int64]:
    """Returns the most frequent label of each group."""
    counts = np.zeros((images.groups.max() + 1, images.labels.max() + 1), int)
    np.add.at(counts, (images.groups, images.labels), 1)
    found: NDArray[np.int64] = counts.argmax(axis=1)
    return found


def _bootstrap(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns each image's number of draws if groups are drawn with replacement: [replicates, images]."""
    count = int(groups.max()) + 1
    drawn = np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(_REPLICATES)])
    return drawn[:, groups].astype(float)


def _interval(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Returns the percentile interval of the AUROC over the replicates."""
    order = np.argsort(scores, kind="stable")
    starts = np.unique(scores[order], return_index=True)[1]
    positive, negative = (
        np.add.reduceat(weights[:, order] * chosen[order], starts, axis=1) for chosen in (truth, ~truth)
    )
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    values = (positive * below).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    low, high = np.percentile(values, (2.5, 97.5)) if len(values) else (0.0, 1.0)
    return float(low), float(high)


def _in_words(facts: Sequence[Facts], members: NDArray[np.bool_]) -> list[str]:
    """Returns the two facts that distinguish a class best, of each kind only one."""
    inside, outside = int(members.sum()), int((~members).sum())
    chance = np.sqrt((inside + outside + 1) / (12 * inside * outside))  # standard error of the AUROC by chance
    listed = max(_LISTED, 0.5 + _ERRORS * float(chance))
    best: dict[str, tuple[float, str]] = {}
    for name, fact in FACTS.items():
        values = [of.get(name) for of in facts]
        found = _numeric(values, members, name) if fact.more else _textual(values, members, name)
        if found[0] >= listed and found[0] > best.get(fact.kind, (0.0, ""))[0]:
            best[fact.kind] = found
    return [sentence for _, sentence in sorted(best.values(), key=lambda found: -found[0])[:2]]


def _numeric(values: Sequence[float | str | None], members: NDArray[np.bool_], name: str) -> tuple[float, str]:
    known = np.array([isinstance(value, float) for value in values])
    numbers, inside = np.array([value for value in values if isinstance(value, float)]), members[known]
    if not 0 < inside.sum() < len(inside):
        return 0.0, ""
    auroc = float(_aurocs(numbers[:, None], inside[:, None])[0])
    fact = FACTS[name]
    unit = f" {fact.unit}" if fact.unit not in ("", "%") else ""
    medians, means = (
        [_shown(float(average(numbers[chosen])), fact.unit) for chosen in (inside, ~inside)]
        for average in (np.median, np.mean)
    )
    values_in_words = f"median {medians[0]} against {medians[1]}"
    if medians[0] == medians[1]:  # of shares that are mostly 0
        if means[0] == means[1]:
            return 0.0, ""
        values_in_words = f"mean {means[0]} against {means[1]}"
    return max(auroc, 1 - auroc), f"{fact.more if auroc > 0.5 else fact.less}, {values_in_words}{unit}"


def _textual(values: Sequence[float | str | None], members: NDArray[np.bool_], name: str) -> tuple[float, str]:
    levels = sorted({str(value) for value in values if value is not None})
    best = (0.0, "")
    for number, level in enumerate(levels, start=1):
        has = np.array([value == level for value in values])
        of_class, of_rest = float(has[members].mean()), float(has[~members].mean())
        title = f"{number} of {len(levels)}" if name == "institution" else level
        sentence = f"{FACTS[name].title} {title}, {_shown(of_class, '%')} against {_shown(of_rest, '%')}"
        strength = round(0.5 + abs(of_class - of_rest) / 2, 6)
        if strength > best[0] or (strength == best[0] and of_class > of_rest):
            best = strength, sentence
    return best


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        share = 100 * value
        return f"{share:.0f} %" if share >= 1 or share == 0 else f"{share:.2g} %"
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"
