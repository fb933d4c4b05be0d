"""An audit as text for a terminal."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ctonnx.system.text import aligned, counted
from ctonnx_train.audit.audit import Audit, Copy
from ctonnx_train.audit.near_duplicates import HASH_BITS
from ctonnx_train.audit.shortcuts import FEWEST_GROUPS, STRONG
from ctonnx_train.data.patients import source_in_words

__all__ = ["format_audit"]

_SHOWN = 10


def format_audit(audit: Audit, *, show_all: bool = False) -> str:
    """Returns the audit as text; lists all groups of copies, or only the first ones that cross splits or labels."""
    return "\n".join(_lines(audit, None if show_all else _SHOWN))


def _lines(audit: Audit, shown: int | None) -> Iterator[str]:
    yield f"{audit.root}: {counted(audit.images, 'image')}"
    yield ""
    splits = [split for split, numbers in audit.counts.items() if any(numbers.values())]
    classes = next(iter(audit.counts.values()))
    yield from _table(
        "class", splits, {name: {split: audit.counts[split][name] for split in splits} for name in classes}
    )
    yield ""
    for folder, name in sorted(audit.folder_classes.items()):
        if folder != name:
            yield f"'{folder}' is read as '{name}'"
    width, height = ("/".join(map(str, sizes)) for sizes in (audit.widths, audit.heights))
    yield f"width {width}, height {height} pixels (smallest, median, largest)"
    yield f"modes: {_list(audit.modes)}; formats: {_list(audit.formats)}"
    yield from audit.notes
    yield f"unreadable: {len(audit.unreadable)}"
    yield from _some([f"  {path}: {reason}" for path, reason in audit.unreadable.items()], shown)
    yield ""
    leaks = audit.leaks
    yield f"exact duplicates (identical pixels): {_groups_and_files(leaks.groups, leaks.files)}"
    yield f"  across splits: {_groups_and_files(leaks.groups_across_splits, leaks.files_across_splits)}"
    several = _groups_and_files(leaks.groups_with_several_labels, leaks.files_with_several_labels)
    yield f"  with different labels: {several}"
    yield f"  files that leak from an earlier split: {_list(leaks.leaked)}"
    yield from _groups(audit.exact, shown)
    yield (
        f"near duplicates (perceptual hashes that differ in at most {audit.near_distance} of {HASH_BITS} bits): "
        f"{_groups_and_files(len(audit.near), sum(map(len, audit.near)))}"
    )
    yield f"  across splits: {counted(audit.near_across_splits, 'group')}"
    yield f"  with different labels: {counted(audit.near_with_several_labels, 'group')}"
    yield from _groups(audit.near, shown)
    yield from _patients(audit, shown)
    yield ""
    yield from _shortcuts(audit)
    yield ""
    yield "THE SPLITS LEAK: metrics on them are optimistic" if audit.splits_leak else "no leak between splits was found"
    if leaks.groups_across_splits or any(leaks.leaked.values()):
        yield "train --drop-leaks and evaluate --drop-leaks leave the exact copies out"
    if audit.groups_across_splits:
        yield "train --drop-leaks leaves out the images of patients that are in an earlier split"
    yield from _advice(audit)
    if audit.unreadable:
        yield f"{counted(len(audit.unreadable), 'file')} could not be read: fix or remove the files listed above"


def _patients(audit: Audit, shown: int | None) -> Iterator[str]:
    """Yields the patients in several splits, and those in several classes, with an image of each."""
    if audit.grouped is None:
        return
    across, several = audit.groups_across_splits, audit.groups_in_several_classes
    yield ""
    yield f"patients: {audit.grouped} from {source_in_words(audit.patients_origin)}"
    for where, counts, columns in (
        ("splits", across, tuple(audit.counts)),
        ("classes", several, tuple(next(iter(audit.counts.values())))),
    ):
        yield f"  in several {where}: {len(counts)}"
        if counts:
            named = {name: audit.first_image.get(name, name) for name in counts}  # nobody knows a pseudonym
            heading = "patient with the image" if audit.first_image else "patient"
            head, *rows = (
                f"    {row}" for row in _table(heading, columns, {named[name]: counts[name] for name in counts})
            )
            yield head
            yield from _some(rows, shown)


def _shortcuts(audit: Audit) -> Iterator[str]:
    """Yields a table of the classes: how well facts that are not anatomy distinguish each from the rest."""
    found = audit.shortcuts
    if audit.as_seen is None:
        yield "shortcuts: how well size, file, grey values near the border, marks and scanner predict the class"
    else:
        seen = audit.as_seen
        how = f"{seen.size} pixels, color {seen.color}, crop {seen.crop}, resize {seen.resize}"
        how += f", intensity {seen.intensity}"
        yield f"shortcuts in what the network sees ({how}): how well grey values near the border and marks predict it"
    rows = []
    for name, of in found["classes"].items():
        low, high = of.get("auroc_interval") or (0.0, 1.0)
        auroc, p = of.get("auroc"), of.get("p_value")
        interval = "-" if auroc is None else f"{auroc:.3f} [{low:.3f}, {high:.3f}]"
        rows.append([name, of["verdict"], interval, "-" if p is None else f"{p:.3f}"])
    yield from (f"  {line}" for line in aligned([["class", "verdict", "AUROC", "p"], *rows]))
    for name, of in found["classes"].items():
        if of["verdict"] in ("some", "strong"):
            kinds = ", ".join(f"{kind} {auroc:.2f}" for kind, auroc in of.get("auroc_by_kind", {}).items())
            words = "; ".join(of.get("facts", ())) or "no fact alone distinguishes it, but several together do"
            yield f"  {name}: {words} (AUROC by kind: {kinds})"
    if any(of["verdict"] == "some" for of in found["classes"].values()):
        yield (
            "  some: the facts distinguish a class from the rest, but the AUROC's interval begins below "
            f"{STRONG:g}, where strong does: metrics of a network may be optimistic by that"
        )
    if any(of["verdict"] == "untested" for of in found["classes"].values()):
        yield f"  untested: a class and the rest each need {FEWEST_GROUPS} or more images, copies counted once"
    images, groups = counted(found.get("images", 0), "image"), counted(found.get("groups", 0), "group")
    yield f"  {images} in {groups} of copies, 5 folds, {found.get('permutations', 0)} permutations"


def _advice(audit: Audit) -> Iterator[str]:
    """Yields advice on shortcuts."""
    verdict = audit.shortcuts["verdict"]
    if verdict not in ("some", "strong"):
        return
    if verdict == "strong":
        yield "STRONG SHORTCUTS: a network can predict the class without the anatomy, and fail on other scans"
    if audit.as_seen is None:
        yield (
            f"data audit {audit.root} --as-seen --crop body --resize pad shows what would be left in the network's "
            "input; train has the same options"
        )
    else:
        yield (
            "what is left reaches the network: prepare the images of all classes in one way, or add images of each "
            "class from each source"
        )


def _groups_and_files(groups: int, files: int) -> str:
    return f"{counted(groups, 'group')}, {counted(files, 'file')}"


def _table(heading: str, splits: Collection[str], rows: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yields the lines of a table of counts: a column for each split, a row for each name."""
    cells = [[name, *(str(counts.get(split, 0)) for split in splits)] for name, counts in rows.items()]
    yield from aligned([[heading, *(f"{split:>6}" for split in splits)], *cells])


def _groups(groups: Sequence[Sequence[Copy]], shown: int | None) -> Iterator[str]:
    """Yields a block of lines for each group; only groups that cross splits or labels, unless all are shown."""
    listed = [group for group in groups if shown is None or len({(copy.split, copy.label) for copy in group}) > 1]
    yield from _some(
        ["\n".join(f"  {'-' if row == 0 else ' '} {copy.path}" for row, copy in enumerate(group)) for group in listed],
        shown,
    )
    if within := len(groups) - len(listed):
        yield f"  {counted(within, 'more group')} within one split and class: --all or --json lists them"


def _some(blocks: Sequence[str], shown: int | None) -> Iterator[str]:
    yield from blocks[:shown]
    if shown is not None and len(blocks) > shown:
        yield f"  ... and {len(blocks) - shown} more: --all or --json lists them"


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
