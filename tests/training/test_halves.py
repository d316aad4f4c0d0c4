"""An update in two halves: the same sums, and the same weights for the same seed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lookright import Dataset, Scheme, Sentence, Tagger
from lookright.models.compilation import why_not_compiled
from lookright.models.dropout import ThreadDropout, draws_from
from lookright.training import trainer
from lookright.training.halves import draws_in_order, gradients_in_halves


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batches(n: int) -> list[dict[str, Any]]:
    return [{"x": torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))} for seed in range(n)]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), ThreadDropout(0.5), nn.Linear(6, 1))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_gradients_are_those_of_one_after_the_other_and_the_same_again(n: int) -> None:
    def gradients(seed: int) -> tuple[Tensor, list[Tensor], set[str]]:
        net, used = model(), set()

        def loss_of(batch: Any) -> Tensor:
            used.add(threading.current_thread().name)
            loss: Tensor = net(batch["x"]).pow(2).sum()
            return loss

        torch.manual_seed(seed)
        total = gradients_in_halves(net, batches(n), loss_of, Tensor.backward)
        return total, [weight.grad for weight in net.parameters() if weight.grad is not None], used

    with threads(2):
        total, found, used = gradients(7)
        for _ in range(5):
            again = gradients(7)
            assert total.equal(again[0])
            assert all(map(torch.equal, found, again[1]))
        assert not total.equal(gradients(8)[0])
    assert all(name.startswith("batch-of-lookright") for name in used)
    net = model()
    torch.manual_seed(7)
    losses = []
    for batch, seed in zip(batches(n), torch.randint(2**62, (n,)).tolist(), strict=True):
        with draws_from(seed):
            losses.append(net(batch["x"]).pow(2).sum())
        losses[-1].backward()
    assert total.item() == pytest.approx(sum(losses).item(), rel=1e-5)
    for mine, weight in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(mine, weight.grad)


def test_weights_that_one_half_does_not_reach() -> None:
    net = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    given = [{"which": number % 2, "x": torch.ones(1, 2)} for number in range(4)]
    with threads(2):
        gradients_in_halves(net, given, lambda batch: net[batch["which"]](batch["x"]).sum(), Tensor.backward)
    assert [linear.weight.grad.tolist() for linear in net] == [[[2.0, 2.0]], [[2.0, 2.0]]]


def test_thread_dropout_draws_from_its_own_generator_only_within() -> None:
    dropout, ones = ThreadDropout(0.25), torch.ones(10_000)
    with draws_from(3):
        one = dropout(ones)
    torch.manual_seed(0)
    with draws_from(3):
        assert dropout(ones).equal(one)
        dropout.eval()
        assert dropout(ones).equal(ones)
        dropout.train()
    first = dropout(ones)
    torch.manual_seed(0)
    assert dropout(ones).equal(first)
    assert not first.equal(one)
    assert one.mean().item() == pytest.approx(1, abs=0.03)
    assert one.unique().tolist() == pytest.approx([0, 4 / 3])


class WithRate(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.attention_dropout = rate


def test_what_draws_random_numbers_in_order_is_seen() -> None:
    assert not draws_in_order(model())
    assert not draws_in_order(nn.Sequential(nn.Dropout(0.0), WithRate(0.0)))
    assert draws_in_order(nn.Sequential(nn.Dropout(0.1)))
    assert draws_in_order(nn.Sequential(WithRate(0.1)))


def train(base: Path, n_threads: int, passive: bool = True, **options: Any) -> tuple[Tagger, list[int]]:
    counted: list[int] = []
    inner = trainer.gradients_in_halves

    def count(net: nn.Module, given: Any, *rest: Any) -> Tensor:
        counted.append(len(given))
        return inner(net, given, *rest)

    words = ("Anna", "saw", "Paris", "in", "spring")
    tags = ("B-PER", "O", "B-LOC", "O", "O")
    sentences = tuple(Sentence(words[: 2 + number % 4], tags[: 2 + number % 4]) for number in range(24))
    with threads(n_threads), pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "gradients_in_halves", count)
        patch.setenv("OMP_WAIT_POLICY", "passive" if passive else "active")
        patch.delenv("GOMP_SPINCOUNT", raising=False)
        tagger = Tagger.from_pretrained(base, plan="01", device="cpu")
        tagger.fit(
            Dataset(sentences, scheme=Scheme.IOB2),
            epochs=2,
            batch_size=8,
            precision="float32",
            progress=False,
            seed=1,
            **options,
        )
    return tagger, counted


def test_training_in_halves_repeats_to_the_byte(tiny_llama: Path) -> None:
    one, counted = train(tiny_llama, 2)
    other, _ = train(tiny_llama, 2)
    assert counted == [2] * 6
    assert one.model is not None
    assert other.model is not None
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))


def test_threads_that_spin_share_the_whole_update(tiny_llama: Path) -> None:
    assert train(tiny_llama, 2, passive=False)[1] == []


def test_training_in_halves_is_training(tiny_llama: Path) -> None:
    halved, _ = train(tiny_llama, 2, dropout=0.0)
    whole, counted = train(tiny_llama, 1, dropout=0.0)
    assert counted == []
    assert halved.model is not None
    assert whole.model is not None
    for mine, theirs in zip(halved.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)


@pytest.mark.skipif(why_not_compiled("cpu") is not None, reason="no compiler here")
@pytest.mark.slow  # half a minute of a C++ compiler
def test_compiled_layers_are_trained_in_halves_too(tiny_llama: Path) -> None:
    compiled, counted = train(tiny_llama, 2, dropout=0.0, compile=True)
    again, _ = train(tiny_llama, 2, dropout=0.0, compile=True)
    plain, _ = train(tiny_llama, 2, dropout=0.0)
    assert counted == [2] * 6
    for mine, same, theirs in zip(*(one.model.parameters() for one in (compiled, again, plain)), strict=True):  # type: ignore[union-attr]
        assert torch.equal(mine, same)
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)


def test_adapters_with_dropout_are_trained_in_one_piece(tiny_llama: Path) -> None:
    assert train(tiny_llama, 2, method="lora", lora_dropout=0.1)[1] == []
    assert train(tiny_llama, 2, method="lora", lora_dropout=0.0)[1] == [2] * 6
