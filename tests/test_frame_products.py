"""A frame's results have the same digits in any batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmjrr.frame_products import elementwise, linear, padded_matrix, padded_rows, product
from mmjrr.models import FitDiscriminator

with_mkl = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason='another library than MKL multiplies matrices'
)
PARTS = [slice(0, 8), slice(8, 16), slice(0, 5), slice(5, 16), slice(6, 7)]


def check_parts(compute: Callable[[Tensor], Tensor], values: Tensor) -> None:
    """Assert that parts of a batch have the results and gradients of the whole batch."""
    upstream = torch.randn(compute(values).shape)

    def result_and_gradient(rows: slice) -> tuple[Tensor, Tensor]:
        leaf = values[rows].clone().requires_grad_()
        result = compute(leaf)
        result.backward(upstream[rows])
        assert leaf.grad is not None
        return result.detach(), leaf.grad

    whole = result_and_gradient(slice(None))
    for rows in PARTS:
        for part, expected in zip(result_and_gradient(rows), whole, strict=True):
            assert torch.equal(part, expected[rows]), rows


@with_mkl
@pytest.mark.parametrize('shape', [(10, 72), (10, 20670), (217, 468), (217, 3000)])
def test_products_of_parts_of_a_batch_equal_those_of_the_batch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix, bias = padded_matrix(torch.randn(shape)), torch.randn(shape[1])
    check_parts(lambda values: product(values, matrix, bias), torch.randn(16, shape[0]))


@with_mkl
@pytest.mark.parametrize('shape', [(10, 72), (144, 32), (217, 468), (217, 20670)])
def test_products_do_not_depend_on_the_number_of_threads(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix, values = padded_matrix(torch.randn(shape)), torch.randn(16, shape[0])
    upstream, threads, results = torch.randn(16, shape[1]), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            leaf = values.clone().requires_grad_()
            result = product(leaf, matrix)
            result.backward(upstream)
            assert leaf.grad is not None and torch.get_num_threads() == count
            results.append((result.detach(), leaf.grad))
    finally:
        torch.set_num_threads(threads)
    for result, gradient in results[1:]:
        assert torch.equal(result, results[0][0]) and torch.equal(gradient, results[0][1])


@with_mkl
def test_parts_of_a_batch_are_as_plausible_as_in_the_batch() -> None:
    torch.manual_seed(0)
    model = FitDiscriminator().requires_grad_(False)
    check_parts(lambda pose: model.pose(pose.unflatten(1, (-1, 6))), torch.randn(16, 144))
    check_parts(model.shape, torch.randn(16, 10))


@pytest.mark.parametrize('function', [torch.sigmoid, torch.sin, torch.exp])
def test_functions_of_elements_do_not_depend_on_their_place(
    function: Callable[[Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    check_parts(lambda values: elementwise(function, values), torch.randn(16, 25))


def test_products_and_linear_layers_have_the_values_and_gradients_of_float64() -> None:
    torch.manual_seed(0)
    values, matrix, bias = (
        torch.randn(shape, dtype=torch.float64) for shape in ((5, 10), (10, 3), (3,))
    )
    torch.testing.assert_close(
        product(values, padded_matrix(matrix), bias),
        torch.einsum('bk,kn->bn', values, matrix) + bias,
    )
    torch.testing.assert_close(product(values, matrix), torch.einsum('bk,kn->bn', values, matrix))
    layer = torch.nn.Linear(10, 3).double()
    torch.testing.assert_close(
        linear(padded_rows(values), layer.weight, layer.bias)[:5], layer(values)
    )
    leaves = [value.requires_grad_() for value in (values, layer.weight, layer.bias)]
    assert torch.autograd.gradcheck(lambda v, w, b: linear(padded_rows(v), w, b), leaves)


def test_functions_of_two_tensors_keep_their_shape() -> None:
    y, x = torch.randn(2, 3, 5, 1)
    torch.testing.assert_close(elementwise(torch.atan2, y, x), torch.atan2(y, x))
    assert elementwise(torch.atan2, y[:0], x[:0]).shape == (0, 5, 1)
