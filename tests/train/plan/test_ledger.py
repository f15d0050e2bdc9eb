"""Bytes and operations counted, against arithmetic by hand."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from likeness.train.plan.ledger import Ledger, without_values

FLOAT = 4


def test_storages_count_once_and_until_they_are_freed() -> None:
    ledger = Ledger()
    with ledger:
        a = torch.zeros(100)
        view = a[10:].reshape(9, 10)
        b = a + 1
        assert ledger.live == 2 * 100 * FLOAT
        del b
        assert ledger.live == 100 * FLOAT
        del a
        assert ledger.live == 100 * FLOAT  # the view still holds it
        del view
        assert ledger.live == 0
    assert ledger.peak == 2 * 100 * FLOAT


def test_a_frozen_layer_saves_nothing_and_a_trained_one_its_input() -> None:
    frozen, trained = (nn.Linear(8, 8, bias=False).requires_grad_(on) for on in (False, True))
    x = torch.ones(5, 8, requires_grad=True)
    ledger = Ledger([x, *frozen.parameters(), *trained.parameters()])
    with ledger:
        y = trained(frozen(x))
        assert ledger.live == (5 * 8 + 5 * 8) * FLOAT  # the answer, and the input of the trained layer
        y.sum().backward()
    del y
    assert ledger.live == (8 * 8 + 5 * 8) * FLOAT  # the gradients of the weight and of x


def test_products_and_attention_are_counted_forwards_and_backwards() -> None:
    layer, x = nn.Linear(6, 7, bias=False), torch.ones(5, 6, requires_grad=True)
    ledger = Ledger()
    with ledger:
        layer(x).sum().backward()
    assert ledger.flops == 3 * 2 * 5 * 6 * 7  # forward, gradient of the weight, gradient of x
    query = torch.ones(2, 3, 10, 4)
    ledger = Ledger()
    with ledger:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert ledger.flops == 2 * 2 * (2 * 3) * 10 * 10 * 4  # scores, and their products with the values


def test_tensors_without_values_count_as_real_ones() -> None:
    def counted(fake: bool) -> tuple[int, int, int]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.LayerNorm(16))
        if fake:
            without_values(network)
        ledger = Ledger(network.parameters())
        with ledger:
            out = network(torch.zeros(9, 16))
            saved = ledger.live
            out.square().mean().backward()
        return saved, ledger.peak, ledger.flops

    with FakeTensorMode():
        fake = counted(True)
    assert fake == counted(False)
    assert min(fake) > 0


def test_a_gradient_given_up_counts_no_more() -> None:
    weight = nn.Parameter(torch.ones(10))
    ledger = Ledger([weight])
    weight.register_post_accumulate_grad_hook(ledger.give_up_gradient)
    with ledger:
        (2 * weight).sum().backward()
    assert ledger.live == 0
    assert weight.grad is not None
    weight.grad = None
    assert ledger.live == 0
