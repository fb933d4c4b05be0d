"""What is installed: versions of libraries, builds of onnxruntime, and the extras of ctonnx that are missing.

Several distributions may hold one library: onnxruntime, onnxruntime-gpu, onnxruntime-openvino and nightly builds all
install the module `onnxruntime`. So a library is looked up by its module here, never by the name of a distribution, and
its version is the module's own where the module is loaded. Nothing is imported.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache

__all__ = ["extras_to_install", "installed_builds", "missing_extras", "version_of", "versions_of"]

_ONNXRUNTIME = "onnxruntime"
# The requirement of an extra that holds on every system: `tqdm>=4.67; extra == 'train'`. In the standard's words
# (Core metadata, Requires-Dist) the marker of an extra stands after all others.
_REQUIREMENT = re.compile(r"""\s*(?P<name>[\w.-]+)[^;]*;\s*extra\s*==\s*['"](?P<extra>[\w.-]+)['"]\s*""")


def version_of(module: str) -> str | None:
    """Returns a library's version, or None where it is not installed.

    The module's own `__version__` where it is loaded, as that is what computes; else the version of the distribution
    that holds it.

    Args:
        module: The name that is imported, such as `sklearn` or `PIL`.
    """
    version = getattr(sys.modules.get(module), "__version__", None)
    if version:
        return str(version).removeprefix("v")  # onnxsim 0.8.1 calls itself v0.8.1
    installed, holders = _scan(tuple(sys.path))
    names = (*holders.get(module, ()), _normal(module))
    return next((installed[name] for name in names if name in installed), None)


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Returns the versions of those libraries that are installed, by the names of their distributions.

    Args:
        modules: The names that are imported. One that several distributions hold at once keeps its module's name.
    """
    found = {}
    for module in modules:
        if version := version_of(module):
            names = _scan(tuple(sys.path))[1].get(module, ())
            found[names[0] if len(names) == 1 else module] = version
    return found


def installed_builds() -> dict[str, str]:
    """Returns the version of each build of onnxruntime that is installed, by its distribution's name.

    All of them write the folder `onnxruntime`: where two are installed, each has some of the files.
    """
    installed, holders = _scan(tuple(sys.path))
    return {name: installed[name] for name in sorted(holders.get(_ONNXRUNTIME, ())) if name in installed}


def missing_extras(extras: Iterable[str]) -> tuple[str, ...]:
    """Returns those extras of ctonnx of which a requirement is not installed.

    The requirements are those in ctonnx's own metadata. Any build of onnxruntime serves for another one; requirements
    for one operating system alone are passed over.

    Args:
        extras: The names of extras.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = [found for line in requires("ctonnx") or () if (found := _REQUIREMENT.fullmatch(line))]
    except PackageNotFoundError:  # a copy of the sources, which says nothing of them
        return ()
    names, has_build = _scan(tuple(sys.path))[0], bool(installed_builds())

    def is_there(name: str) -> bool:
        return name in names or (has_build and name.partition("-")[0] == _ONNXRUNTIME)

    return tuple(
        extra
        for extra in extras
        if any(found["extra"] == extra and not is_there(_normal(found["name"])) for found in requirements)
    )


def extras_to_install(extras: Iterable[str]) -> str:
    """Returns the words after `pip install` that bring extras, and no second build of onnxruntime.

    Args:
        extras: The names of extras; `cpu` stands for any build of onnxruntime.
    """
    others = {*installed_builds()} - {_ONNXRUNTIME}  # pip would install `onnxruntime` over one of these
    named = ",".join(extra for extra in extras if not (others and extra == "cpu"))
    return f'"ctonnx[{named}]"' if named else "ctonnx"


@lru_cache(maxsize=1)
def _scan(path: tuple[str, ...]) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Returns the version of each distribution, and for each module the distributions that hold it.

    It reads the list of files of every distribution: 0.2 s where PyTorch is installed.

    Args:
        path: `sys.path`, for which the answer is kept.
    """
    from importlib.metadata import distributions, packages_distributions

    versions: dict[str, str] = {}
    for item in distributions(path=list(path)):
        name, version = item.metadata["Name"], item.version  # both are None where an install was interrupted
        if name and version:
            versions.setdefault(_normal(name), version)  # the first on the path is the one that is imported
    holders = {
        module: tuple(dict.fromkeys(_normal(name) for name in names if name))
        for module, names in packages_distributions().items()
    }
    return versions, holders


def _normal(name: str) -> str:
    """Returns a distribution's name as the standard compares it.

    >>> _normal("ONNXRuntime_GPU")
    'onnxruntime-gpu'
    """
    return re.sub(r"[-_.]+", "-", name).lower()
