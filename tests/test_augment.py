"""Augmentation, image by image: what a crop, a mirror and a cut-out may give, that each is given, and when mirrors are safe."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nas.training import Images, Recipe, augment

COUNT, SIDE = 2000, 6
PICTURE = 1 + torch.arange(2 * SIDE * SIDE, dtype=torch.float32).view(2, SIDE, SIDE)
BATCH = PICTURE.expand(COUNT, -1, -1, -1)


def shifts(pad):
    """The picture moved by every number of pixels up to `pad`, zeros moving in: `[(2 pad + 1)^2, C, H, W]`."""
    wide = F.pad(PICTURE, (pad,) * 4)
    places = range(2 * pad + 1)
    return torch.stack([wide[:, down : down + SIDE, right : right + SIDE] for down in places for right in places])


def counted(images, possible):
    """How often each possible picture is among the images; every image is one of them."""
    same = (images[:, None] == possible).flatten(2).all(-1)
    assert (same.sum(1) == 1).all()
    return same.sum(0)


@pytest.mark.parametrize("pad", [1, 2])
def test_a_crop_is_a_shift_up_to_the_padding_and_every_shift_is_as_frequent(pad):
    counts = counted(augment.batch(BATCH, Recipe(1, crop=pad), 0), shifts(pad)).double()
    expected = COUNT / len(counts)
    # Six standard deviations of a binomial: chance fails one shift in 500 million.
    assert ((counts - expected).abs() < 6 * expected**0.5).all()


def test_half_of_the_pictures_are_mirrored_left_to_right():
    straight, mirrored = counted(
        augment.batch(BATCH, Recipe(1, flip=True), 0), torch.stack([PICTURE, PICTURE.flip(-1)])
    )
    assert straight + mirrored == COUNT
    assert abs(straight - mirrored) < 12 * COUNT**0.5 / 2


@pytest.mark.parametrize("side", [2, 3, 4])
def test_a_cut_out_is_a_square_of_zeros_that_may_reach_over_the_border(side):
    cut = augment.batch(BATCH, Recipe(1, cutout=side), 0)
    gone = cut == 0
    assert torch.equal(cut[~gone], BATCH[~gone])
    assert torch.equal(gone[:, 0], gone[:, 1])
    rows, columns = gone[:, 0].any(2), gone[:, 0].any(1)
    assert torch.equal(gone[:, 0], rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        # One run of neighbours, as long as the side wherever it does not reach the border.
        assert ((lines.int().diff(dim=1) == 1).sum(1) <= 1).all()
        assert (lines.sum(1) <= side).all()
        inside = ~lines[:, 0] & ~lines[:, -1]
        assert inside.any()
        assert (lines[inside].sum(1) == side).all()
        # Every pixel is cut out of some picture.
        assert lines.any(0).all()


def test_pictures_of_a_batch_are_drawn_apart_and_every_draw_is_the_steps_own():
    recipe = Recipe(1, crop=2, flip=True, cutout=2)
    first = augment.batch(BATCH, recipe, 5)
    assert torch.equal(first, augment.batch(BATCH, recipe, 5))
    for other in (augment.batch(BATCH, recipe, 6), augment.batch(BATCH, recipe._replace(seed=1), 5)):
        same = (first == other).flatten(1).all(1).double().mean()
        assert same < 0.2
    # What one draw decides says nothing of another: of the mirrored pictures half were moved to either side.
    apart = augment.batch(BATCH, Recipe(1, crop=1, flip=True), 0)
    possible = torch.cat([shifts(1), shifts(1).flip(-1)])
    counts = counted(apart, possible).double()
    assert ((counts - COUNT / 18).abs() < 6 * (COUNT / 18) ** 0.5).all()


def test_without_augmentation_a_batch_is_itself():
    assert augment.batch(BATCH, Recipe(1), 0) is BATCH


def images_of(pictures, classes):
    x = torch.tensor(pictures, dtype=torch.uint8).view(len(classes), 1, 1, -1)
    return Images(x, torch.tensor(classes), torch.zeros(1), torch.ones(1))


def test_mirrors_are_safe_where_classes_stay_what_they_are():
    up_and_down = images_of([[9, 9], [200, 200], [12, 10], [190, 200]], [0, 1, 0, 1])
    assert augment.flip_is_label_preserving(up_and_down, 2)
    left_and_right = images_of([[200, 9], [9, 200], [210, 9], [9, 190]], [0, 1, 0, 1])
    assert not augment.flip_is_label_preserving(left_and_right, 2)


@pytest.mark.parametrize(("turned", "safe"), [(1, True), (2, False)])
def test_mirrors_are_safe_up_to_a_tenth_of_the_pictures_that_change_class(turned, safe):
    # 15 pictures, all nearest to their class; mirrored, those that are brighter at one side are nearest to the other.
    plain = [[100, 100]] * (15 - turned)
    pictures = images_of(plain + [[250, 0]] * turned, [0] * (15 - turned) + [1] * turned)
    assert augment.flip_is_label_preserving(pictures, 2) == safe


def test_a_class_without_pictures_is_nobodys_nearest():
    assert augment.flip_is_label_preserving(images_of([[9, 9], [200, 200]], [0, 2]), 4)
