"""How good a network is: each figure against scipy, scikit-learn or a sum by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from nas.training import Images, metrics

SEEN = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1, 1, 1])
TRUTH = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 1])


@pytest.mark.parametrize(("right", "count"), [(7, 10), (0, 25), (25, 25), (962, 1000), (1, 2)])
def test_the_interval_is_wilsons(right, count):
    seen = (torch.arange(count) >= right).long()
    found = metrics.classification_metrics(seen, torch.zeros(count, dtype=torch.long), 2)
    theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert found["interval"] == pytest.approx([100 * theirs.low, 100 * theirs.high], abs=6e-4)
    assert found["test_accuracy"] == pytest.approx(100 * right / count, abs=6e-4)


def test_the_rows_of_the_confusion_matrix_are_the_truth():
    found = metrics.classification_metrics(SEEN, TRUTH, 4)["confusion"]
    assert found == confusion_matrix(TRUTH, SEEN, labels=range(4)).tolist()
    assert found == [[1, 1, 0, 0], [0, 2, 2, 0], [1, 2, 1, 0], [0, 0, 0, 0]]


def test_the_worst_class_by_hand():
    seen = torch.stack([SEEN, TRUTH])
    assert metrics.worst_class_accuracy(seen, TRUTH, 5).tolist() == pytest.approx([25, 100])


def test_the_calibration_error_by_hand():
    # Two bins of (0, 1/2] and (1/2, 1]: confidences 0.5, 0.5 (one right) and 0.8, 0.6 (both right).
    p = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.8, 0.2], [0.4, 0.6]])
    y = torch.tensor([0, 1, 0, 1])
    expected = 2 / 4 * abs(0.5 - 0.5) + 2 / 4 * abs(1 - 0.7)
    assert metrics.calibration_error(p[None], y, bins=2).tolist() == pytest.approx([100 * expected])
    # In 15 bins 0.5 and 0.6 are apart, and so are 0.6 and 0.8.
    expected = 2 / 4 * 0 + 1 / 4 * 0.2 + 1 / 4 * 0.4
    assert metrics.calibration_error(p[None], y).tolist() == pytest.approx([100 * expected])


def test_confidence_too_high_and_too_low_do_not_cancel():
    p = torch.tensor([[0.9, 0.1], [0.55, 0.45]])
    # Sure and wrong: 0.9 off. Unsure and right: 0.45 off.
    assert metrics.calibration_error(p[None], torch.tensor([1, 0])).tolist() == pytest.approx([100 * (0.9 + 0.45) / 2])


def test_accuracy_is_the_percent_of_all_images_that_each_network_has_right():
    class Fixed:
        """Networks that see the class which the image's first pixel says, the second one class further."""

        def logits(self, images):
            seen = images[:, 0, 0, 0].round().long()
            return torch.nn.functional.one_hot(torch.stack([seen, (seen + 1) % 3]), 3).float()

    count = 1100  # More than one part.
    y = torch.arange(count) % 3
    x = torch.where(torch.arange(count) < 990, y, (y + 1) % 3).byte().view(-1, 1, 1, 1)
    images = Images(x, y, torch.zeros(1), torch.ones(1) / 255)
    assert metrics.predictions(Fixed(), images).shape == (2, count)
    assert metrics.accuracy(Fixed(), images).tolist() == pytest.approx([90, 0])
