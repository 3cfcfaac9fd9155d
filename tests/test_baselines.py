"""What a search has to beat: the commonest class, models of scikit-learn; and the paired test, by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import f1_score

from nas import baselines
from nas.baselines import classical
from nas.baselines.hog import hog
from nas.training import metrics


def test_mcnemars_test_by_hand():
    # 8 images only the first has right, 2 only the second, 5 both, 3 neither: of 10 fair coins at least 8 or at most 2 fall
    # alike with probability 2 (1 + 10 + 45) / 1024.
    first = torch.tensor([True] * 8 + [False] * 2 + [True] * 5 + [False] * 3)
    second = torch.tensor([False] * 8 + [True] * 2 + [True] * 5 + [False] * 3)
    found = baselines.paired(first, second)
    assert (found.first_only, found.second_only) == (8, 2)
    assert found.p == pytest.approx(112 / 1024, rel=1e-12)
    assert baselines.paired(second, first).p == pytest.approx(112 / 1024, rel=1e-12)


def test_classifiers_that_never_differ_are_equal():
    hits = torch.tensor([True, False, True])
    assert baselines.paired(hits, hits) == (0, 0, 1.0)


def ramp(angle, side=16):
    """A picture that gets brighter in one direction, as long as it goes."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    value = 100 + 5 * (x * math.cos(angle) + y * math.sin(angle))
    return value.round().clamp(0, 255).byte()[None, None]


@pytest.mark.parametrize("bin_", range(9))
def test_the_gradient_of_a_ramp_is_in_the_bin_of_its_angle(bin_):
    features = hog(ramp((bin_ + 0.5) * math.pi / 9))[0].view(-1, 9, 4)
    assert set(features[len(features) // 2].sum(-1).argmax(-1, keepdim=True).tolist()) == {bin_}


def test_a_picture_and_its_negative_have_the_same_oriented_gradients():
    x = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    assert torch.allclose(hog(x), hog(255 - x), atol=1e-5)
    assert torch.equal(hog(x)[1:2], hog(x[1:2]))


def test_a_plain_picture_has_no_oriented_gradients():
    assert not hog(torch.full((1, 1, 8, 8), 77).byte()).any()


def noisy_stripes(counts, side=8):
    """Of each class so many pictures: stripes across, stripes down."""
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    stripes = torch.arange(side) % 2 * 100.0
    pictures = torch.stack([stripes.expand(side, side).T if label else stripes.expand(side, side) for label in y])
    return (pictures + 60 * torch.rand(pictures.shape, generator=generator)).byte()[:, None], y


def test_the_commonest_class_is_that_of_the_training_images():
    x, y = noisy_stripes((2, 3))
    images = {"train": (x, y), "valid": (x[:3], y[:3]), "test": (x[:4], y[:4])}
    found = baselines.majority(images, ("across", "down"))
    assert found.name == "always 'down'"
    assert found.seen.tolist() == [1, 1, 1, 1]
    assert found.seen_valid.tolist() == [1, 1, 1]


@pytest.fixture
def images():
    return {
        split: noisy_stripes(counts) for split, counts in {"train": (9, 9), "valid": (4, 4), "test": (5, 5)}.items()
    }


def test_a_model_learns_what_is_there_to_be_learned_and_the_same_again(images):
    found, again = baselines.fit_best(images, 0.0), baselines.fit_best(images, 0.0)
    assert found.name == "SVC on oriented gradients", "of ties the first"
    assert torch.equal(found.seen, images["test"][1])
    assert torch.equal(found.seen, again.seen)
    assert torch.equal(found.seen_valid, images["valid"][1])


def test_a_class_so_rare_that_the_thinned_images_lack_it_is_learned_all_the_same(images, monkeypatch):
    monkeypatch.setattr(classical, "_CHOSEN_ON", 3)
    images["train"] = x, y = noisy_stripes((60, 1))
    assert len(y[classical.pick(len(y), 3)].unique()) == 1
    assert classical._some(y, 3).tolist() == [*classical.pick(len(y), 3).tolist(), 60]
    assert len(baselines.fit_best(images | {"valid": (x[:1], y[:1])}, 0.0).seen) == 10


def test_the_best_on_validation_is_taken_and_test_images_choose_nothing(images, monkeypatch):
    def constant(label):
        class Model:
            def predict(self, features):
                return torch.full((len(features),), label).numpy()

        return lambda features, y, until: Model()

    x, y = images["valid"]
    images["valid"] = x[2:], y[2:]  # Two of class 0, four of class 1.
    images["test"] = images["test"][0][:5], images["test"][1][:5]  # Class 0 alone.
    candidates = [classical._Candidate(f"always {label}", hog, constant(label)) for label in (0, 1)]
    monkeypatch.setattr(classical, "_CANDIDATES", candidates)
    found = baselines.fit_best(images, 60.0)
    assert found.name == "always 1"
    assert found.seen_valid.tolist() == [1] * 6
    assert found.seen.tolist() == [1] * 5


def test_macro_f1_by_hand_and_by_scikit_learn():
    # Class 0: precision 1/2, recall 1; class 1: precision 1, recall 1/3; class 2 has no test images.
    assert metrics.macro_f1([[2, 0, 0], [2, 1, 0], [0, 0, 0]]) == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    generator = torch.Generator().manual_seed(1)
    truth, seen = torch.randint(0, 4, (50,), generator=generator), torch.randint(0, 4, (50,), generator=generator)
    confusion = metrics.classification_metrics(seen, truth, 4)["confusion"]
    assert metrics.macro_f1(confusion) == pytest.approx(100 * f1_score(truth, seen, average="macro"))


def test_a_metric_other_than_accuracy_chooses_by_itself():
    # Of 4 images of class 0 and 2 of class 1 the first has all of class 0 right, the second all of class 1 and one of class 0.
    y = torch.tensor([0, 0, 0, 0, 1, 1])
    seen = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]])
    assert metrics.score("accuracy", seen, y, 2).tolist() == pytest.approx([100 * 4 / 6, 50])
    assert metrics.score("balanced_accuracy", seen, y, 2).tolist() == pytest.approx([50, 62.5])
    assert metrics.score("macro_f1", seen, y, 2).tolist() == pytest.approx([40, 100 * (2 / 5 + 4 / 7) / 2])


def test_a_mean_over_unequal_classes_is_known_by_fewer_images():
    y = torch.tensor([0] * 90 + [1] * 10)
    assert metrics.effective_images("accuracy", y) == 100
    assert metrics.effective_images("balanced_accuracy", y) == round(4 / (1 / 90 + 1 / 10))
    assert metrics.effective_images("balanced_accuracy", torch.tensor([0, 1] * 50)) == 100


def test_models_that_do_not_fit_into_the_time_are_left_out_and_many_images_are_thinned(images, monkeypatch):
    clock, fitted = [0.0], []
    monkeypatch.setattr(classical.time, "perf_counter", lambda: clock[0])

    def slow(number):
        def fit(features, y, until):
            clock[0] += 10
            fitted.append((number, len(y)))
            return SimpleNamespace(predict=lambda features: torch.zeros(len(features)).long().numpy())

        return fit

    monkeypatch.setattr(classical, "_CANDIDATES", [classical._Candidate(str(n), hog, slow(n)) for n in range(4)])
    monkeypatch.setattr(classical, "_CHOSEN_ON", 9)
    # Half of 60 seconds is for choosing: three begin in it. The other half is three times what the first took, so it may have
    # 3 ** 0.5 times as many images.
    baselines.fit_best(images, 60.0)
    assert fitted == [(0, 9), (1, 9), (2, 9), (0, int(9 * 3**0.5))]
    fitted.clear()
    baselines.fit_best(images, 0.0)
    assert fitted == [(0, 9), (0, 9)]


def test_boosting_looks_at_the_time_after_a_hundred_trees_however_many_classes():
    y = torch.arange(50).repeat(4)
    features = torch.rand(200, 5, generator=torch.Generator().manual_seed(0))
    model = classical._fit_boosting(features, y, until=0.0)
    assert model[-1].n_iter_ == 2
