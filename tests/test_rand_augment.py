"""RandAugment changes colors as PIL does and moves pixels where its maps say; random crops are parts of the image."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps

from nas.training import Images, Recipe, augment, rand_augment
from nas.training.rand_augment import OPERATIONS

NOISE = torch.Generator().manual_seed(1)
BYTES = (torch.rand(1, 3, 32, 32, generator=NOISE) ** 2 * 200 + 20).byte()
IMAGES = Images(BYTES.expand(300, -1, -1, -1), torch.zeros(300).long(), torch.full((3,), 0.4), torch.full((3,), 0.2))
EVERY = torch.arange(300)


def only(name, side):
    """The operation in the first of two rounds, nothing in the second."""
    operations = torch.tensor([[OPERATIONS.index(name)], [OPERATIONS.index("identity")]])
    return operations, torch.full((2, 1), float(side))


def by_pil(name, magnitude, side):
    image = Image.fromarray(BYTES[0].permute(1, 2, 0).numpy())
    part = magnitude / 30
    enhance = {"brightness": "Brightness", "color": "Color", "contrast": "Contrast", "sharpness": "Sharpness"}
    if name in enhance:
        return getattr(ImageEnhance, enhance[name])(image).enhance(1 + side * 0.9 * part)
    return {
        "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * part)),
        "solarize": lambda: ImageOps.solarize(image, math.ceil(255 * (1 - part))),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("magnitude", [6, 15, 30])
@pytest.mark.parametrize("name", list(rand_augment._CHANGES))
def test_colors_change_as_in_pil_to_a_byte(name, magnitude, side):
    import numpy as np

    ours = rand_augment.recolored(BYTES.float() / 255, *only(name, side), magnitude)[0]
    theirs = torch.from_numpy(np.array(by_pil(name, magnitude, side))).permute(2, 0, 1)
    # PIL cuts values to whole ones, of the degenerate image as well: one of each makes two.
    exact = name in ("posterize", "solarize", "equalize")
    assert (ours * 255 - theirs).abs().max() < (1e-3 if exact else 2.0)


def test_an_image_of_one_value_has_no_contrast_to_gain():
    flat = torch.full((1, 1, 8, 8), 0.5)
    for name in ("autocontrast", "equalize", "contrast", "color", "sharpness"):
        torch.testing.assert_close(rand_augment.recolored(flat, *only(name, 1), 20), flat)


def sampled(maps, x):
    return F.grid_sample(x, F.affine_grid(maps[:, :2], list(x.shape), align_corners=False), align_corners=False)


def test_translations_move_by_their_share_of_the_side_and_zeros_move_in():
    x = torch.rand(1, 1, 331, 331, generator=NOISE)
    right = sampled(rand_augment.moved(*only("translate_x", 1), 10, 1.0), x)
    # 150 of 331 pixels at magnitude 30: 50 at 10.
    torch.testing.assert_close(right[..., :-50], x[..., 50:], rtol=0, atol=1e-3)
    assert (right[..., -49:] == 0).all()
    up = sampled(rand_augment.moved(*only("translate_y", -1), 10, 1.0), x)
    torch.testing.assert_close(up[..., 50:, :], x[..., :-50, :], rtol=0, atol=1e-3)


def test_rotations_keep_angles_and_lengths_of_images_that_are_not_square():
    turn = rand_augment.moved(*only("rotate", 1), 30, 2.0)[0]
    # A step of one pixel to the right and one down, of an image 10 wide and 20 high.
    pixel = torch.tensor([[0.2, 0.0, 0.0], [0.0, 0.1, 0.0]]).T
    right, down = (turn @ pixel).T * torch.tensor([5.0, 10.0, 0.0])
    torch.testing.assert_close(right.norm(), torch.tensor(1.0))
    torch.testing.assert_close(down.norm(), torch.tensor(1.0))
    torch.testing.assert_close(right[0], torch.tensor(math.cos(math.pi / 6)))
    assert (right * down).sum().abs() < 1e-6
    quarter = rand_augment.rotation(torch.tensor([math.pi / 2]), 1.0)
    x = torch.rand(1, 2, 6, 6, generator=NOISE)
    torch.testing.assert_close(sampled(quarter, x), x.rot90(1, (2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "entry"), [("shear_x", (0, 1)), ("shear_y", (1, 0))])
def test_shears_slope_by_their_magnitude(name, entry):
    expected = torch.eye(3)
    expected[entry] = -0.15
    torch.testing.assert_close(rand_augment.moved(*only(name, -1), 15, 1.0)[0], expected)


def test_two_moves_of_an_image_are_one_after_the_other():
    operations = torch.tensor([[OPERATIONS.index("rotate")], [OPERATIONS.index("shear_x")]])
    both = rand_augment.moved(operations, torch.ones(2, 1), 30, 1.0)
    turned, sheared = (rand_augment.moved(*only(name, 1), 30, 1.0) for name in ("rotate", "shear_x"))
    torch.testing.assert_close(both, turned @ sheared)


def test_operations_and_sides_are_as_frequent_as_each_other():
    operations, sides = rand_augment.drawn(torch.rand(4, 7000, generator=NOISE))
    for row, side in zip(operations, sides):
        count = row.bincount(minlength=len(OPERATIONS)).double()
        # Six standard deviations of binomials.
        assert ((count - 500).abs() < 6 * 500**0.5).all()
        assert side.sum().abs() < 6 * 7000**0.5
    assert set(sides.flatten().tolist()) == {-1.0, 1.0}


def test_a_random_crop_is_a_part_of_the_image_of_the_area_and_shape_asked_for():
    draw = torch.rand(4, 2000, generator=NOISE)
    maps = augment._crops(0.3, *draw)
    width, height, right, down = maps[:, 0, 0], maps[:, 1, 1], maps[:, 0, 2], maps[:, 1, 2]
    assert (right.abs() + width <= 1 + 1e-6).all()
    assert (down.abs() + height <= 1 + 1e-6).all()
    inside = (width < 1) & (height < 1)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close((width * height)[inside], (0.3 + 0.7 * draw[0])[inside])
    assert ((width / height).log().abs() <= math.log(4 / 3) + 1e-6).all()


@pytest.mark.parametrize("recipe", [Recipe(1, scale=0.4), Recipe(1, rotate=20.0), Recipe(1, randaugment=9)])
def test_images_of_a_batch_are_drawn_apart_and_every_draw_is_the_steps_own(recipe):
    first = augment.prepared(IMAGES, EVERY, recipe, 5)
    assert torch.equal(first, augment.prepared(IMAGES, EVERY, recipe, 5))
    assert len(first.flatten(1).unique(dim=0)) > 100
    for other in (
        augment.prepared(IMAGES, EVERY, recipe, 6),
        augment.prepared(IMAGES, EVERY, recipe._replace(seed=1), 5),
    ):
        assert (first == other).flatten(1).all(1).double().mean() < 0.2


def test_augmentations_come_one_on_top_of_the_other():
    recipe = Recipe(1, crop=2, flip=True, cutout=4, rotate=10.0)
    moved = augment.prepared(IMAGES, EVERY, Recipe(1, rotate=10.0), 3)
    assert torch.equal(augment.prepared(IMAGES, EVERY, recipe, 3), augment.batch(moved, recipe, 3))
    plain = recipe._replace(rotate=0.0)
    assert torch.equal(augment.prepared(IMAGES, EVERY, plain, 3), augment.batch(IMAGES.normalised(EVERY), plain, 3))
