"""Writes THIRD_PARTY.md: every package that ctonnx may install, with its license: `make third-party`.

The packages are those that constraints.txt and the requirements of the extras select on Linux x86-64; their licenses
are what pip-licenses reads from their metadata. Packages that are not installed in this environment, such as those for
CUDA, are named without.
"""

import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ctonnx.system.files import atomic_file
from release.pinned import ROOT

__all__ = ["closure", "main", "packages_of_extras", "render", "versions_of_tests"]

_HEAD = """# Packages of others

ctonnx itself is under the Apache License 2.0 (LICENSE). `pip` installs the packages below, each under its own license:
the text, and those of the libraries that its wheel contains, are in its folder `*.dist-info`. Written by `make
third-party` from the packages' metadata, with the versions of constraints.txt. "Core" is what every installation has;
the other words are extras of ctonnx, as in `pip install "ctonnx[cpu,serve]"`, that install the package.

| package | version | license | installed by |
| --- | --- | --- | --- |
"""


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Returns the names of the packages that requirements install here, with all that these need.

    A package that is not installed in this environment is in it, without what it needs.
    """
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        found.add(name)
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        for extra in sorted(extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def packages_of_extras(dependencies: Iterable[str], extras: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Returns the packages that ctonnx may install, in alphabetical order, each with the extras that install it.

    Args:
        dependencies: Requirements of every installation.
        extras: Requirements of each extra.
    """
    core = closure(map(Requirement, dependencies))
    users = defaultdict[str, list[str]](list, {name: ["core"] for name in core})
    for extra in extras:
        if extra != "all":
            for name in closure(_requirements(extra, extras)) - core:
                users[name].append(extra)
    return dict(sorted(users.items()))


def versions_of_tests() -> dict[str, str]:
    """Returns the versions in constraints.txt. Packages of CUDA are not in it: PyTorch names theirs."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


def render(
    users: Mapping[str, Iterable[str]], licenses: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]
) -> str:
    """Returns the document.

    Args:
        users: Packages, each with the extras that install it.
        licenses: `License` and `URL` of each installed package.
        versions: Versions of packages.
    """
    lines = []
    for name, extras in users.items():
        facts = licenses.get(name, {})
        address = facts.get("URL", "UNKNOWN")
        # The page of a package in an index has no more than its name.
        link = f"[{name}]({address})" if address.startswith("http") and "/project/" not in address else name
        license_ = " ".join(facts.get("License", "not installed here: see its page").split()).replace("|", "\\|")
        license_ = license_.replace("UNKNOWN", "not in its metadata: see its page")
        lines.append(f"| {link} | {versions.get(name, '')} | {license_} | {', '.join(extras)} |\n")
    return _HEAD + "".join(lines)


def main() -> None:
    """Writes the document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = [str(Path(sys.executable).with_name("pip-licenses")), f"--python={sys.executable}", "--format=json"]
    command += ["--with-urls", "--with-system"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    licenses: dict[str, dict[str, str]] = {
        str(canonicalize_name(facts["Name"])): facts for facts in json.loads(done.stdout)
    }
    users = packages_of_extras(project["dependencies"], project["optional-dependencies"])
    with atomic_file(ROOT / "THIRD_PARTY.md") as part:
        part.write_text(render(users, licenses, versions_of_tests()), encoding="utf-8")


def _requirements(extra: str, extras: Mapping[str, Iterable[str]]) -> Iterator[Requirement]:
    """Yields the requirements of an extra, with those of the extras of ctonnx that it names."""
    for requirement in map(Requirement, extras[extra]):
        if requirement.name == "ctonnx":
            for other in sorted(requirement.extras):
                yield from _requirements(other, extras)
        else:
            yield requirement


if __name__ == "__main__":
    main()
