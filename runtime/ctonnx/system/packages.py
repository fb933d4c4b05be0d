"""Installed packages: versions of libraries, builds of onnxruntime, and missing extras of ctonnx.

Several distributions can install the same library: onnxruntime, onnxruntime-gpu, onnxruntime-openvino and nightly
builds all install the module `onnxruntime`. So a library is looked up by its module and never by the name of a
distribution. No library is imported.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache

__all__ = ["extras_to_install", "installed_builds", "missing_extras", "version_of", "versions_of"]

_ONNXRUNTIME = "onnxruntime"
_PLUGIN = re.compile(r"onnxruntime-(ep-|qnn$)")  # distributions that no build of onnxruntime replaces
# A requirement of an extra on every system: `tqdm>=4.67; extra == 'train'`. The marker of an extra comes after all
# others (Core metadata, Requires-Dist).
_REQUIREMENT = re.compile(r"""\s*(?P<name>[\w.-]+)[^;]*;\s*extra\s*==\s*['"](?P<extra>[\w.-]+)['"]\s*""")


def version_of(module: str) -> str | None:
    """Returns the version of a library, by its module such as `PIL`, or None if it is not installed.

    It is the `__version__` of the module if that is loaded, else the version of its distribution.
    """
    version = getattr(sys.modules.get(module), "__version__", None)
    if version:
        return str(version).removeprefix("v")  # onnxsim 0.8.1 calls itself v0.8.1
    installed, owners = _scan(tuple(sys.path))
    names = (*owners.get(module, ()), _normal(module))
    return next((installed[name] for name in names if name in installed), None)


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Returns the versions of installed modules by distribution, or by module if several distributions have it."""
    found = {}
    for module in modules:
        if version := version_of(module):
            names = _scan(tuple(sys.path))[1].get(module, ())
            found[names[0] if len(names) == 1 else module] = version
    return found


def installed_builds() -> dict[str, str]:
    """Returns the versions of the installed builds of onnxruntime by distribution name.

    All of them write the folder `onnxruntime`: if two are installed, the folder has files of both.
    """
    installed, owners = _scan(tuple(sys.path))
    return {name: installed[name] for name in sorted(owners.get(_ONNXRUNTIME, ())) if name in installed}


def missing_extras(extras: Iterable[str]) -> tuple[str, ...]:
    """Returns the extras of ctonnx with a requirement that is not installed.

    The requirements are read from ctonnx's metadata. Any build of onnxruntime satisfies a requirement for another one,
    but not for a plugin. Requirements for only one operating system are ignored.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = [found for line in requires("ctonnx") or () if (found := _REQUIREMENT.fullmatch(line))]
    except PackageNotFoundError:  # a copy of the sources without metadata
        return ()
    names, has_build = _scan(tuple(sys.path))[0], bool(installed_builds())

    def is_installed(name: str) -> bool:
        is_build = name.partition("-")[0] == _ONNXRUNTIME and not _PLUGIN.match(name)
        return name in names or (has_build and is_build)

    return tuple(
        extra
        for extra in extras
        if any(found["extra"] == extra and not is_installed(_normal(found["name"])) for found in requirements)
    )


def extras_to_install(extras: Iterable[str]) -> str:
    """Returns the arguments of `pip install` for extras; `cpu` is left out if another build is installed."""
    others = {*installed_builds()} - {_ONNXRUNTIME}  # pip would install `onnxruntime` over one of these
    named = ",".join(extra for extra in extras if not (others and extra == "cpu"))
    return f'"ctonnx[{named}]"' if named else "ctonnx"


@lru_cache(maxsize=1)
def _scan(path: tuple[str, ...]) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Returns the version of each distribution, and the distributions of each module.

    It reads the list of files of every distribution, which takes 0.2 s if PyTorch is installed. `path` is `sys.path`.
    """
    from importlib.metadata import distributions, packages_distributions

    versions: dict[str, str] = {}
    for item in distributions(path=list(path)):
        name, version = item.metadata["Name"], item.version  # both are None after an interrupted installation
        if name and version:
            versions.setdefault(_normal(name), version)  # the first one on the path is imported
    found = packages_distributions().items()
    owners = {module: tuple(dict.fromkeys(_normal(name) for name in names if name)) for module, names in found}
    return versions, owners


def _normal(name: str) -> str:
    """Returns the normalized name of a distribution.

    >>> _normal("ONNXRuntime_GPU")
    'onnxruntime-gpu'
    """
    return re.sub(r"[-_.]+", "-", name).lower()
