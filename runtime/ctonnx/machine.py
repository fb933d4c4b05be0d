"""How much of this machine the process may use: its CPU affinity, and the limits of the container that it runs in."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_cores"]


def available_cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process may use, at least 1: not how many the host has.

    The least of its CPU affinity and of the CPU time that its control groups allow, rounded up. A container that is
    given half a core on a host with 64 would else start 64 threads, which wait for each other.

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`),
    https://docs.kernel.org/scheduler/sched-bwc.html (`cpu.cfs_quota_us`).

    Args:
        root: where /proc and /sys are.
    """
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return max(1, math.ceil(min([allowed, *_limits(root)])))


def _limits(root: Path) -> Iterator[float]:
    """Yields the cores that each control group of this process, and each one above it, allows."""
    for line in _lines(root / "proc" / "self" / "cgroup"):
        number, controllers, group = line.split(":", 2)
        mounted = root / "sys" / "fs" / "cgroup"
        if number == "0" and not controllers:
            for folder in _upwards(mounted, group):
                quota, _, period = (_lines(folder / "cpu.max") or ["max"])[0].partition(" ")
                yield from _ratio(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in _upwards(mounted / "cpu", group):
                quotas, periods = _lines(folder / "cpu.cfs_quota_us"), _lines(folder / "cpu.cfs_period_us")
                yield from _ratio(*quotas, *periods)


def _upwards(mounted: Path, group: str) -> Iterator[Path]:
    """Yields a group's folder and those above it; in a container the group's own path may not be there."""
    folder = mounted / group.lstrip("/")
    while folder != mounted and mounted in folder.parents:
        yield folder
        folder = folder.parent
    yield mounted


def _ratio(*figures: str) -> Iterator[float]:
    """Yields quota / period, or nothing where there is no limit or it cannot be read."""
    if len(figures) == 2 and all(figure.strip().isdigit() for figure in figures):
        quota, period = (int(figure) for figure in figures)
        if quota > 0 and period > 0:
            yield quota / period


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
