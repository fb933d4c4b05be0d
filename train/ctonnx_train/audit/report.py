"""An audit as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from ctonnx.system.text import aligned, counted
from ctonnx_train.audit.audit import HASH_BITS, Audit, Copy

__all__ = ["format_audit"]

_SHOWN = 10


def format_audit(audit: Audit, *, show_all: bool = False) -> str:
    """Returns the audit as text: counts, sizes, unreadable files, copies.

    Args:
        audit: Result of an audit.
        show_all: Whether to list all groups of copies, or only the first ones that cross splits or labels.
    """
    return "\n".join(_lines(audit, None if show_all else _SHOWN))


def _lines(audit: Audit, shown: int | None) -> Iterator[str]:
    yield f"{audit.root}: {counted(audit.images, 'image')}"
    yield ""
    yield from _counts(audit.counts)
    yield ""
    for folder, name in sorted(audit.folder_classes.items()):
        if folder != name:
            yield f"'{folder}' is read as '{name}'"
    yield f"width {_range(audit.widths)}, height {_range(audit.heights)} pixels (smallest, median, largest)"
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
    files = sum(map(len, audit.near))
    yield (
        f"near duplicates (perceptual hashes that differ in at most {audit.near_distance} of {HASH_BITS} bits): "
        f"{_groups_and_files(len(audit.near), files)}"
    )
    yield f"  across splits: {counted(audit.near_across_splits, 'group')}"
    yield f"  with different labels: {counted(audit.near_with_several_labels, 'group')}"
    yield from _groups(audit.near, shown)
    if audit.grouped is not None:
        yield ""
        yield from _patients(audit, shown)
    yield ""
    yield "THE SPLITS LEAK: metrics on them are optimistic" if audit.splits_leak else "no leak between splits was found"
    if leaks.groups_across_splits or any(leaks.leaked.values()):
        yield "train --drop-leaks and evaluate --drop-leaks leave the exact copies out"
    if audit.groups_across_splits:
        yield "train --drop-leaks with this --group-regex leaves out images of a group that is in an earlier split"
    if audit.unreadable:
        yield f"{counted(len(audit.unreadable), 'file')} could not be read: fix or remove the files listed above"


def _patients(audit: Audit, shown: int | None) -> Iterator[str]:
    """Yields the table of the groups by `--group-regex` that are in several splits."""
    across = audit.groups_across_splits
    yield f"groups by --group-regex: {audit.grouped}, {len(across)} in several splits"
    if across:
        rows = [[name, *(str(counts.get(split, 0)) for split in audit.counts)] for name, counts in across.items()]
        head, *lines = (f"  {line}" for line in aligned([["group", *(f"{split:>6}" for split in audit.counts)], *rows]))
        yield head
        yield from _some(lines, shown)


def _groups_and_files(groups: int, files: int) -> str:
    return f"{counted(groups, 'group')}, {counted(files, 'file')}"


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    splits = {split: numbers for split, numbers in counts.items() if any(numbers.values())}
    rows = [[name, *(str(numbers[name]) for numbers in splits.values())] for name in next(iter(counts.values()))]
    yield from aligned([["class", *(f"{split:>6}" for split in splits)], *rows])


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


def _range(values: tuple[int, int, int]) -> str:
    return "/".join(map(str, values))


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
