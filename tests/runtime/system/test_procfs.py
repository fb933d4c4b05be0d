"""The file system of a path is read from the mounts of the process."""

from pathlib import Path

import pytest
from tests.runtime.system.linux_files import write

from ctonnx.system.procfs import control_groups, file_system, first_line, read_lines


@pytest.mark.parametrize(
    ("path", "kind"),
    [("data/runs", "ext4"), ("data", "ext4"), ("data/my scans/a/b", "nfs4"), ("database", "overlay"), ("", "overlay")],
)
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str, tmp_path: Path) -> None:
    base = str(tmp_path.resolve()).replace(" ", r"\040")
    lines = [
        f"22 1 0:21 / {base} rw,relatime - overlay overlay rw",
        f"23 22 8:1 / {base}/data rw,relatime shared:1 - ext4 /dev/sda1 rw",
        rf"24 23 0:50 / {base}/data/my\040scans rw - nfs4 server:/scans rw",
        "a line of another kind",
    ]
    write(tmp_path / "host/proc/self/mountinfo", "\n".join(lines))
    assert file_system(tmp_path / path, tmp_path / "host") == kind


def test_file_system_is_unknown_without_mounts(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path) is None


def test_file_that_is_missing_has_no_lines(tmp_path: Path) -> None:
    assert (first_line(tmp_path / "none"), read_lines(tmp_path / "none")) == ("", [])
    write(tmp_path / "some", "first\nsecond\n")
    assert (first_line(tmp_path / "some"), read_lines(tmp_path / "some")) == ("first", ["first", "second"])


def test_groups_of_a_process_are_its_own_and_those_above(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "3:cpu,cpuacct:/a/b\n2:memory:/c\n0::/pod\n")
    mounted = tmp_path / "sys/fs/cgroup"
    assert list(control_groups(tmp_path, "cpu")) == [
        (mounted / "cpu/a/b", 1),
        (mounted / "cpu/a", 1),
        (mounted / "cpu", 1),
        (mounted / "pod", 2),
        (mounted, 2),
    ]
