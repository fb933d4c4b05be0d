"""The machine that the wheels are for: Python version, platform tags, environment markers.

Source of the tags and markers: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/ and
https://packaging.python.org/en/latest/specifications/dependency-specifiers/.
"""

import platform as this_platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ctonnx.errors import CtonnxError
from ctonnx_offline.standards import markers, tags

__all__ = ["Target"]

_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}  # minor version of glibc 2 in the oldest tag; 17 for newer architectures
_GLIBC_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_WINDOWS = {"win_amd64": "AMD64", "win_arm64": "ARM64", "win32": "x86"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A Python on a platform.

    Attributes:
        python: Version of CPython, as (3, 12).
        platforms: Platform tags of wheels that run there, the best first.
        markers: Environment markers of requirements, such as `sys_platform`.
    """

    python: tuple[int, int]
    platforms: tuple[str, ...]
    markers: Mapping[str, str]

    @classmethod
    def of(cls, python: str | None = None, platform: str | None = None) -> "Target":
        """Returns the target with a version of Python and a platform tag; None is that of this Python.

        Raises:
            CtonnxError: If the version or the tag is not one of CPython on a known platform.

        >>> Target.of("3.12", "win_amd64").markers["sys_platform"]
        'win32'
        """
        version = sys.version_info[:2] if python is None else _version(python)
        if sys.implementation.name != "cpython":
            raise CtonnxError(f"expected CPython to collect wheels with, found {sys.implementation.name}")
        here = {name: str(value) for name, value in markers.default_environment().items() if name != "extra"}
        if platform is None:
            platforms, there = tuple(tags.platform_tags()), here
        else:
            platforms, there = _platforms(platform), here | _markers(platform)
        if version != sys.version_info[:2]:
            text = ".".join(map(str, version))
            there |= {"python_version": text, "python_full_version": f"{text}.0", "implementation_version": f"{text}.0"}
        return cls(python=version, platforms=platforms, markers=there)

    @property
    def python_text(self) -> str:
        """Version of Python, as `3.12`."""
        return ".".join(map(str, self.python))

    @property
    def system_text(self) -> str:
        """Operating system and processor, as `Linux x86_64`."""
        return f"{self.markers['platform_system']} {self.markers['platform_machine']}"

    @property
    def tags(self) -> frozenset[str]:
        """Tags of the wheels that can be installed, as `cp312-cp312-win_amd64`."""
        interpreter = "cp" + "".join(map(str, self.python))
        found = [
            *tags.cpython_tags(self.python, platforms=self.platforms),
            *tags.compatible_tags(self.python, interpreter, self.platforms),
        ]
        return frozenset(map(str, found))

    @property
    def pip_options(self) -> list[str]:
        """Options of `pip install` and `pip download` that choose wheels for the target."""
        options = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", self.python_text]
        return options + [word for tag in self.platforms for word in ("--platform", tag)]


def _version(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"3\.(\d{1,2})", text)
    if not found:
        raise CtonnxError(f"expected a version of Python such as 3.12, found '{text}'")
    return 3, int(found[1])


def _platforms(tag: str) -> tuple[str, ...]:
    """Returns a platform tag and those of older systems, whose wheels run there too.

    >>> _platforms("manylinux2014_aarch64")
    ('manylinux_2_17_aarch64', 'manylinux2014_aarch64')
    """
    if tag in _WINDOWS:
        return (tag,)
    if found := re.fullmatch(r"macosx_(\d+)_(\d+)_(arm64|x86_64)", tag):
        return tuple(tags.mac_platforms((int(found[1]), int(found[2])), found[3]))
    if found := re.fullmatch(r"musllinux_1_(\d+)_(\w+)", tag):
        return tuple(f"musllinux_1_{minor}_{found[2]}" for minor in range(int(found[1]), -1, -1))
    for minor, alias in _GLIBC_ALIASES.items():
        tag = re.sub(rf"^{alias}_", f"manylinux_2_{minor}_", tag)
    if found := re.fullmatch(r"manylinux_2_(\d+)_(\w+)", tag):
        newest, machine = int(found[1]), found[2]
        names = [
            name
            for minor in range(newest, _OLDEST_GLIBC.get(machine, 17) - 1, -1)
            for name in (f"manylinux_2_{minor}", _GLIBC_ALIASES.get(minor))
            if name
        ]
        if names:
            return tuple(f"{name}_{machine}" for name in names)
    raise CtonnxError(
        "expected a platform tag such as manylinux_2_28_x86_64, manylinux_2_28_aarch64, win_amd64 or "
        f"macosx_14_0_arm64, found '{tag}'"
    )


def _markers(tag: str) -> dict[str, str]:
    if tag in _WINDOWS:
        names = ("win32", "Windows", "nt", _WINDOWS[tag])
    elif tag.startswith("macosx_"):
        names = ("darwin", "Darwin", "posix", "arm64" if tag.endswith("arm64") else "x86_64")
    else:
        machine = re.sub(r"^(many|musl)linux(\d+|_\d+_\d+)_", "", tag)
        names = ("linux", "Linux", "posix", machine)
    known = ("sys_platform", "platform_system", "os_name", "platform_machine")
    # A requirement cannot ask for the release of an unknown kernel; that of this one is right for its own platform.
    unknown = {} if names[1] == this_platform.system() else {"platform_release": "0", "platform_version": "0"}
    return dict(zip(known, names, strict=True)) | unknown
