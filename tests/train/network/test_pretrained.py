"""Initial weights: every kind of file, damaged and malicious files, and downloads that fail."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet18, resnet50

from ctonnx.errors import DataError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.pretrained import load_backbone

Rejected: TypeAlias = Callable[[str | Path, str], None]

FILE = "resnet50-11ad3fa6.pth"
URL = f"https://download.pytorch.org/models/{FILE}"
NO_WEIGHTS = r"expected weights \(.safetensors, .pth, .pt, .bin or .ckpt\) in '{}', found {}"
NO_RESNET50 = (
    "expected the weights of a ResNet50 in '{}', found {}; give torchvision's resnet50 file, another ResNet50's, or a "
    "ctonnx run's model.safetensors"
)


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """A torchvision ResNet50 with random weights and statistics."""
    torch.manual_seed(7)
    model: nn.Module = resnet50(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) / 10
            module.running_var = torch.rand(module.num_features) + 0.5
    return model.eval()


@pytest.fixture
def network() -> CTClassifier:
    return CTClassifier(2).eval()


@pytest.fixture(scope="module")
def untouched() -> CTClassifier:
    """A network for the files that are rejected without changing it."""
    return CTClassifier(2).eval()


@pytest.fixture(scope="module")
def state(untouched: CTClassifier) -> dict[str, Tensor]:
    """State dict of the untouched network."""
    return {name: tensor.clone() for name, tensor in untouched.state_dict().items()}


@pytest.fixture
def rejected(untouched: CTClassifier, state: dict[str, Tensor]) -> Rejected:
    """A function that checks that `weights` are rejected with a message and the network is unchanged."""

    def check(weights: str | Path, pattern: str) -> None:
        with pytest.raises(DataError, match=f"^{pattern}$"):
            load_backbone(untouched, str(weights))
        assert all(torch.equal(tensor, state[name]) for name, tensor in untouched.state_dict().items())

    return check


@pytest.fixture
def hub_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the ImageNet weights in torch.hub's cache, below an empty TORCH_HOME."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints" / FILE


@pytest.fixture
def dead_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise URLError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("torch.hub.urlopen", fail)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.mkdir, (self._folder,)


def is_backbone_of(network: CTClassifier, state: dict[str, Tensor]) -> bool:
    found = network.backbone.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in found.items())


@pytest.fixture(scope="module", params=["torchvision.pth", "torchvision.safetensors", "run.safetensors", "nested.pth"])
def weights_file(
    request: pytest.FixtureRequest, published: nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The published weights in each supported file format."""
    kind: str = request.param
    file = tmp_path_factory.mktemp("weights") / kind
    state = published.state_dict()
    if kind == "torchvision.pth":
        torch.save(state, file)
    elif kind == "nested.pth":
        torch.save({"epoch": 3, "state_dict": state}, file)
    elif kind == "torchvision.safetensors":
        save_file(state, file)
    else:
        head = {"head.dense1.weight": torch.zeros(512, 2048)}
        save_file({f"backbone.{name}": tensor for name, tensor in state.items() if name[:3] != "fc."} | head, file)
    yield file
    file.unlink()


def test_none_leaves_the_network_as_it_was_made(network: CTClassifier) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert load_backbone(network, "none") is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_backbone_loaded_from_a_file_computes_the_features_of_its_model(
    weights_file: Path, published: nn.Module, network: CTClassifier
) -> None:
    head = {name: tensor.clone() for name, tensor in network.head.state_dict().items()}
    load_backbone(network, str(weights_file))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    preset = ResNet50_Weights.IMAGENET1K_V2.transforms()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preset.mean, preset.std))
    up_to_layer4 = nn.Sequential(*list(published.children())[:-2])
    with torch.inference_mode():
        expected = up_to_layer4((pixels / 255 - mean) / std)
        torch.testing.assert_close(network.features(pixels), expected, rtol=1e-3, atol=1e-3)
    assert expected.abs().max() > 0.1
    assert all(torch.equal(tensor, head[name]) for name, tensor in network.head.state_dict().items())


def test_a_file_from_before_pytorch_counted_batches_is_a_resnet50s_too(
    published: nn.Module, network: CTClassifier, tmp_path: Path
) -> None:
    # resnet50-19c8e357.pth, torchvision's file for many years, has no num_batches_tracked.
    state = {name: tensor for name, tensor in published.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(OrderedDict(state), tmp_path / "old.pth")
    load_backbone(network, str(tmp_path / "old.pth"))
    assert is_backbone_of(network, published.state_dict())


def test_another_networks_file_is_rejected(rejected: Rejected, tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    rejected(file, NO_RESNET50.format(re.escape(str(file)), "a ResNet18"))


@pytest.mark.parametrize(("name", "what"), [("resnet101", "a ResNet101"), ("resnet152", "a ResNet152")])
def test_deeper_network_with_all_names_of_a_resnet50_is_rejected(
    name: str, what: str, rejected: Rejected, tmp_path: Path
) -> None:
    with torch.device("meta"):
        shapes = getattr(torchvision.models, name)(weights=None).state_dict()
    file = tmp_path / f"{name}.pth"
    # One value seen under every shape: a small file with all names.
    torch.save({key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()}, file)
    rejected(file, NO_RESNET50.format(re.escape(str(file)), what))


def test_loaded_tensors_are_reported(published: nn.Module, network: CTClassifier, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.bin"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in published.state_dict().items()}}, file)
    message = load_backbone(network, str(file))
    assert message == f"weights: a ResNet50's tensors of '{file}' in 'state_dict' after the prefix 'module.'"
    assert is_backbone_of(network, published.state_dict())
    torch.save({"student": published.state_dict(), "teacher": published.state_dict()}, file)
    message = load_backbone(network, str(file))
    assert message == f"weights: a ResNet50's tensors of '{file}' in 'teacher'; not used: those in 'student'"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_rejected(suffix: str, rejected: Rejected, tmp_path: Path) -> None:
    whole, file = tmp_path / f"whole{suffix}", tmp_path / f"half{suffix}"
    state = {"conv1.weight": torch.ones(64, 3, 7, 7)}
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    content = whole.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    rejected(file, NO_WEIGHTS.format(re.escape(str(file)), "another or a damaged file"))


@pytest.mark.parametrize("made", [False, True])
def test_a_missing_file_and_a_folder_are_rejected(made: bool, rejected: Rejected, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    if made:
        file.mkdir()
    rejected(file, f"expected --weights imagenet, none or a file, found no file at '{re.escape(str(file))}'")


@pytest.mark.parametrize("by", ["pickle", "torch"])
def test_a_malicious_file_is_rejected_and_runs_nothing(by: str, rejected: Rejected, tmp_path: Path) -> None:
    file, proof = tmp_path / "malice.pth", tmp_path / "executed"
    content = {"conv1.weight": Malicious(proof)}
    if by == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    rejected(
        file, NO_WEIGHTS.format(re.escape(str(file)), "(another or a damaged file|objects that are not unpickled .+)")
    )
    assert not proof.exists()
    torch.load(file, weights_only=False) if by == "torch" else pickle.loads(file.read_bytes())  # noqa: S301 - the proof that the file is what it should be
    assert proof.is_dir()


@pytest.mark.usefixtures("dead_network")
def test_failed_download_names_three_ways_out(rejected: Rejected, hub_file: Path) -> None:
    rejected(
        "imagenet",
        re.escape(
            "the ImageNet weights could not be downloaded ([Errno -3] Temporary failure in name resolution); "
            f"three ways out: download {URL} on another machine and pass --weights {FILE}, "
            f"or put that file at '{hub_file}', or train from scratch with --weights none"
        ),
    )
    assert not hub_file.exists()


@pytest.mark.usefixtures("dead_network")
def test_the_download_prints_nothing_on_stdout(
    untouched: CTClassifier, hub_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError):
        load_backbone(untouched, "imagenet")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("dead_network")
def test_imagenet_weights_in_the_cache_are_not_downloaded(
    published: nn.Module, network: CTClassifier, hub_file: Path
) -> None:
    hub_file.parent.mkdir(parents=True)
    torch.save(published.state_dict(), hub_file)
    load_backbone(network, "imagenet")
    assert is_backbone_of(network, published.state_dict())


def test_a_download_whose_hash_is_wrong_is_rejected(
    untouched: CTClassifier, hub_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def download(url: str, file: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        asked.append((url, file, hash_prefix))
        raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "0123")')

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    with pytest.raises(DataError, match=r'could not be downloaded \(invalid hash value \(expected "11ad3fa6", got'):
        load_backbone(untouched, "imagenet")
    assert asked == [(URL, str(hub_file), "11ad3fa6")]


@pytest.mark.usefixtures("dead_network")
@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 and no more"])
def test_a_damaged_file_in_the_cache_is_named(content: bytes, untouched: CTClassifier, hub_file: Path) -> None:
    hub_file.parent.mkdir(parents=True)
    hub_file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(hub_file))):
        load_backbone(untouched, "imagenet")


@pytest.mark.usefixtures("dead_network")
def test_a_malicious_file_in_the_cache_runs_nothing(untouched: CTClassifier, hub_file: Path, tmp_path: Path) -> None:
    hub_file.parent.mkdir(parents=True)
    torch.save({"conv1.weight": Malicious(tmp_path / "executed")}, hub_file)
    with pytest.raises(DataError):
        load_backbone(untouched, "imagenet")
    assert not (tmp_path / "executed").exists()
