"""The cores that a process may use are those of its affinity and of its container, not the host's."""

import os
from pathlib import Path

import pytest

from ctonnx.machine import available_cores


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose affinity allows 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    return tmp_path


def test_affinity_alone_counts_where_there_are_no_groups(root: Path) -> None:
    assert available_cores(root) == 16


def test_all_cores_count_where_the_system_knows_no_affinity(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores(root) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores(root) == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("9900000 100000", 16),
        ("0 100000", 16),
        ("100000 0", 16),
        ("what is this", 16),
        ("", 16),
    ],
)
def test_group_of_version_2_limits_the_cores(limit: str, expected: int, root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/cpu.max", f"{limit}\n")
    assert available_cores(root) == expected


def test_group_above_limits_those_in_it(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/pod/container/scope\n")
    write(root / "sys/fs/cgroup/pod/cpu.max", "300000 100000\n")
    write(root / "sys/fs/cgroup/pod/container/cpu.max", "max 100000\n")
    write(root / "sys/fs/cgroup/pod/container/scope/cpu.max", "500000 100000\n")
    assert available_cores(root) == 3


def test_container_that_sees_its_group_as_the_root_is_limited(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/../../machine/that/is/not/mounted\n")
    write(root / "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert available_cores(root) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("250000", 3)])
def test_group_of_version_1_limits_the_cores(quota: str, expected: int, root: Path) -> None:
    write(root / "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    write(root / "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", f"{quota}\n")
    write(root / "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    assert available_cores(root) == expected


def test_this_machine_has_a_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell which cores are allowed")
def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert available_cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
