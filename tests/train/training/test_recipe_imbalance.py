"""The weights of rare classes, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ctonnx_train.training.recipe import class_weights


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [0, 0, 0, 1], [2, 1, 0, 2, 2, 2, 1, 2], [0] * 97 + [1] * 3 + [2] * 40 + [3]],
)
def test_the_weights_are_scikit_learns_balanced_ones(labels: list[int]) -> None:
    classes = np.unique(labels)
    expected = compute_class_weight("balanced", classes=classes, y=np.array(labels))
    np.testing.assert_allclose(class_weights(labels, len(classes)), expected, rtol=1e-12)


def test_the_weights_of_all_images_together_are_their_number() -> None:
    labels = [0, 0, 0, 0, 0, 1, 2, 2]
    weights = class_weights(labels, 3)
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))
    assert [weights[label] * labels.count(label) for label in range(3)] == pytest.approx([8 / 3] * 3)
