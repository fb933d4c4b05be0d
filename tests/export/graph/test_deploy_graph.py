"""The deploy graph against independent implementations of what it computes."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ctonnx_export.graph.deploy_graph import DeployGraph, EnsembleGraph
from ctonnx_export.graph.execution import run_pytorch
from ctonnx_train.network.classifier import CTClassifier

CLASSES = 3


@pytest.fixture(scope="module")
def network() -> CTClassifier:
    """A network whose batch normalization is not in its initial state, so that its outputs differ between images."""
    torch.manual_seed(7)
    network = CTClassifier(CLASSES)
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8))
    return network.eval()


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (2, 96, 96, 3), np.uint8)


@pytest.mark.parametrize("label", range(CLASSES))
def test_heatmap_is_the_grad_cam_packages(network: CTClassifier, pixels: NDArray[np.uint8], label: int) -> None:
    heatmap = run_pytorch(DeployGraph(network), [pixels]).heatmap[:, label]

    network.requires_grad_(True)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with GradCAM(model=network, target_layers=[network.backbone.layer4]) as cam:
        targets = [ClassifierOutputTarget(label)] * len(pixels)
        cam(input_tensor=images, targets=targets)
        layer = cam.activations_and_grads
        expected = cam.get_cam_image(
            images,
            network.backbone.layer4,
            targets,
            layer.activations[0].detach().numpy(),
            layer.gradients[0].detach().numpy(),
            eigen_smooth=False,
        )
    assert heatmap.max() > 0
    assert np.abs(heatmap - np.maximum(expected, 0)).max() <= 1e-5 * heatmap.max()


def test_heatmap_as_grad_cam_shows_it(network: CTClassifier, pixels: NDArray[np.uint8]) -> None:
    """After the package's own scaling to 0..1, at the heatmap's own resolution, the difference is at most 1e-5."""
    heatmap = run_pytorch(DeployGraph(network), [pixels]).heatmap[:, 0]
    scaled = scale_cam_image(scale_cam_image(heatmap))  # once for the layer and once for the mean over its layers

    network.requires_grad_(True)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with GradCAM(model=network, target_layers=[network.backbone.layer4]) as cam:
        cam.get_target_width_height = lambda tensor: None  # keep the maps at layer4's size instead of the input's
        shown = cam(input_tensor=images, targets=[ClassifierOutputTarget(0)] * len(pixels))
    assert np.abs(scaled - shown).max() <= 1e-5


def test_logits_are_the_networks_own(network: CTClassifier, pixels: NDArray[np.uint8]) -> None:
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_array_equal(run_pytorch(DeployGraph(network), [pixels]).logits, expected)


def test_temperature_changes_the_probabilities_and_leaves_the_logits(
    network: CTClassifier, pixels: NDArray[np.uint8]
) -> None:
    plain, warm = (run_pytorch(DeployGraph(network, temperature), [pixels]) for temperature in (1.0, 2.5))
    np.testing.assert_array_equal(plain.logits, warm.logits)
    expected = torch.from_numpy(plain.logits).div(2.5).softmax(1).numpy()
    np.testing.assert_allclose(warm.probabilities, expected, atol=1e-6)


def test_batch_size_does_not_change_the_outputs(network: CTClassifier) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (5, 64, 64, 3), np.uint8)
    whole, parts = (run_pytorch(DeployGraph(network), batches) for batches in ([pixels], [pixels[:2], pixels[2:]]))
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-6)
    assert whole.heatmap.shape == parts.heatmap.shape == (5, CLASSES, 2, 2)


def test_an_ensemble_has_the_mean_of_its_networks_outputs(network: CTClassifier, pixels: NDArray[np.uint8]) -> None:
    torch.manual_seed(8)
    members = [DeployGraph(network, 1.7), DeployGraph(CTClassifier(CLASSES), 1.7)]
    found = run_pytorch(EnsembleGraph(members), [pixels])
    one, other = (run_pytorch(member, [pixels]) for member in members)
    assert np.abs(one.probabilities - other.probabilities).max() > 0.05
    mean = (one.probabilities + other.probabilities) / 2
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-6)
    np.testing.assert_allclose(found.logits, np.log(mean), rtol=1e-5)
    np.testing.assert_allclose(found.heatmap, (one.heatmap + other.heatmap) / 2, rtol=1e-5)
    assert found.novelty is None


def test_a_probability_of_zero_has_a_finite_logit(network: CTClassifier, pixels: NDArray[np.uint8]) -> None:
    found = run_pytorch(EnsembleGraph([DeployGraph(network, 1e-4)] * 2), [pixels])
    assert found.probabilities.min() < 1e-20
    assert np.isfinite(found.logits).all()
