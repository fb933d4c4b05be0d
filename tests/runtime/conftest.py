"""The export folder of a copy of the run, and keys that sign it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runtime.artifacts.provenance.signed_models import KeyPair


@pytest.fixture
def export(workspace: Path) -> Path:
    """The export folder of a copy of the run, which is the newest run of the working folder."""
    return workspace / "runs/tiny/export"


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> "KeyPair":
    """The key pair of a model's maker."""
    from tests.runtime.artifacts.provenance.signed_models import make_keys

    return make_keys(tmp_path_factory.mktemp("keys"), "maker")


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> "KeyPair":
    """The key pair of someone else."""
    from tests.runtime.artifacts.provenance.signed_models import make_keys

    return make_keys(tmp_path_factory.mktemp("keys"), "other")


@pytest.fixture
def signed(export: Path, maker: "KeyPair") -> Path:
    """The export folder of a copy of the run, signed by the maker."""
    from tests.runtime.artifacts.provenance.signed_models import sign

    sign(export, maker)
    return export
