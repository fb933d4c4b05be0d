"""Linux control groups and other one-line files of /proc and /sys."""

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["control_groups", "file_system", "first_line", "read_lines"]

ROOT = Path("/")


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yields the folders and versions of this process's control groups and of all groups above them.

    Version 1 has a hierarchy for each controller, version 2 one for all. In a container the group's own folder may not
    exist.
    """
    for line in read_lines(root / "proc/self/cgroup"):
        number, controllers, group = line.split(":", 2)
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / (controller if version == 1 else "")
        folder = mounted / group.lstrip("/")
        while folder != mounted and mounted in folder.parents:
            yield folder, version
            folder = folder.parent
        yield mounted, version


def first_line(file: Path) -> str:
    """Returns the first line of a file, or an empty string if it cannot be read."""
    return next(iter(read_lines(file)), "")


def read_lines(file: Path) -> list[str]:
    """Returns the lines of a file, or an empty list if it cannot be read."""
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def file_system(path: Path, root: Path = ROOT) -> str | None:
    """Returns the type of the file system of a path, or of its nearest existing folder, such as `ext4`.

    Source: https://docs.kernel.org/filesystems/proc.html (`/proc/<pid>/mountinfo`). None if unknown.
    """
    mounted: dict[Path, str] = {}
    for line in read_lines(root / "proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        words = place.split()
        if len(words) > 4 and kind:
            mounted[Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4]))] = kind.split()[0]
    resolved = path.resolve()
    return next((mounted[folder] for folder in (resolved, *resolved.parents) if folder in mounted), None)
