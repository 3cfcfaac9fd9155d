"""Products and sums on which law 1 rests, and the functions of PyTorch that it takes to be alike wherever an element lies."""

import pytest
import torch

from search_spaces import _products

SHAPES = [(1, 8, 32), (8, 8, 5), (40, 13, 7), (3, 1200, 9), (1200, 8, 32), (40, 1, 5)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "terms", "columns"), SHAPES)
def test_the_order_of_a_products_terms_changes_no_bit(rows, terms, columns):
    a, b = numbers(5, rows, terms), numbers(5, terms, columns, seed=1)
    expected = _products.exact(_products.fixed(a), _products.fixed(b))
    a64, b64 = _products.fixed(a), _products.fixed(b)
    if terms <= 512:
        for order in (torch.arange(terms).flip(0), torch.randperm(terms, generator=torch.Generator().manual_seed(2))):
            assert torch.equal(a64[..., order] @ b64[:, order], expected)
        one_by_one = sum((a64[..., k, None] * b64[:, None, k] for k in range(terms)), torch.zeros(()).double())
        assert torch.equal(one_by_one, expected)
    bound = terms * 2.0**-22 * a.abs().amax() * b.abs().amax()
    assert (expected - a.double() @ b.double()).abs().max() <= 2 * bound


@pytest.mark.parametrize("size", [1e-38, 1e-12, 1.0, 1e12])
def test_fixed_point_is_as_near_as_it_says(size):
    x = size * numbers(6, 7, 9)
    x[0], x[1, 0] = 0.0, 0.0
    off = (_products.fixed(x) - x).abs().amax((-2, -1))
    assert (off <= 2.0**-22 * x.abs().amax((-2, -1))).all()
    inside = x.clamp(-1, 1)
    assert ((_products.fixed(inside, bound=1.0) - inside).abs() <= 2.0**-22).all()


@pytest.mark.parametrize(("rows", "terms", "columns"), SHAPES)
def test_neither_company_nor_layout_changes_a_bit_of_a_product_or_of_its_gradients(rows, terms, columns):
    a, b = numbers(60, rows, terms), numbers(60, terms, columns, seed=1)
    grad = numbers(60, rows, columns, seed=2)

    def products(some, turn):
        operands = [(x[some].mT.contiguous().mT if turn else x[some]).requires_grad_() for x in (a, b)]
        made = _products.product(*operands)
        return made, *torch.autograd.grad(made, operands, grad[some].mT.contiguous().mT if turn else grad[some])

    whole = products(slice(None), False)
    for some in (slice(0, 1), slice(59, 60), slice(3, 5), slice(7, 47)):
        for turn in (False, True):
            assert all(torch.equal(x, y[some]) for x, y in zip(products(some, turn), whole))


def test_gradients_of_gradients_are_those_of_the_product():
    a, b = numbers(3, 4, 5).requires_grad_(), numbers(3, 5, 6, seed=1).requires_grad_()
    second = []
    for product in (_products.product, torch.bmm):
        first = torch.autograd.grad(product(a, b).tanh().sum(), [a, b], create_graph=True)
        second += [torch.autograd.grad(sum(x.square().sum() for x in first), [a, b])]
    for ours, theirs in zip(*second):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_failed_search_spoils_no_other():
    a, b = numbers(3, 4, 5), numbers(3, 5, 6, seed=1)
    expected = _products.product(a, b)
    a[1, 0, 0] = torch.nan
    found = _products.product(a, b)
    assert found[1].isnan().any()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_a_spread_numbers_gradient_is_the_sum(count):
    x = numbers(3, 1, 5).requires_grad_()
    weight = numbers(3, count, 5, seed=1)
    (found,) = torch.autograd.grad((_products.spread(x, 1, count) * weight).sum(), [x])
    torch.testing.assert_close(found, weight.sum(1, keepdim=True))
    assert torch.equal(found[1:2], _products.total(weight[1:2], 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function",
    [
        *(torch.tanh, torch.exp, torch.log, torch.log1p, torch.sqrt, torch.cos, torch.special.ndtr),
        lambda x: x.log_softmax(-1),
        lambda x: x.lerp(x.flip(-1), 0.1),
        lambda x: (0.999 * x).addcmul(x, x, value=0.001),
    ],
)
def test_a_function_gives_an_element_the_same_bits_wherever_it_lies(function, dtype):
    for width in (1, 3, 5, 8, 33):
        x = numbers(200, width).abs().to(dtype)
        whole = function(x)
        for start in (0, 1, 3, 150):
            for count in (1, 2, 7, 19, 50):
                some = slice(start, start + count)
                assert torch.equal(function(x[some].clone()), whole[some]), (width, start, count)
