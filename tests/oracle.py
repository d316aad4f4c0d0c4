"""What a family's own code says under a plan: one sentence, unpadded, eager, with masks drawn by plain loops.

Nothing here asks the product which token sees which: `sees` states it from the facts in `tests.families`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tests.families import N_LAYERS, VOCAB, Family
from torch import Tensor, nn
from transformers import PreTrainedModel

from lookright.attention import apply_plan, packed_kwargs, padded_kwargs
from lookright.plan import MaskPlan

PLANS: dict[str, tuple[int, ...]] = {
    "0000": (0, 0, 0, 0),
    "1111": (-1, -1, -1, -1),
    "0011": (0, 0, -1, -1),
    "1100": (-1, -1, 0, 0),
    "0101": (0, -1, 0, -1),
    "2,0,*,1": (2, 0, -1, 1),
}
LENGTHS = (9, 6, 9, 1, 12)
TOLERANCE = 1e-5


def sees(family: Family, layer: int, right: int, q: int, k: int) -> bool:
    """Whether position q may see position k in a layer with this right context."""

    def own(later: int, earlier: int) -> bool:
        window, chunk = family.windows[layer], family.chunks[layer]
        if earlier > later:
            return False
        if window is not None and later - earlier >= window:
            return False
        return chunk is None or later // chunk == earlier // chunk

    if own(q, k):
        return True
    return k > q and own(k, q) and (right == -1 or k - q <= right)


def naive_mask(family: Family, layer: int, right: int, length: int) -> Tensor:
    """(length, length) boolean, filled in one cell at a time."""
    mask = torch.zeros(length, length, dtype=torch.bool)
    for q in range(length):
        for k in range(length):
            mask[q, k] = sees(family, layer, right, q, k)
    return mask


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks, by the names that families give them."""
    for name, module in model.named_modules():
        if name.split(".")[-1] in ("layers", "h") and isinstance(module, nn.ModuleList) and len(module) == N_LAYERS:
            return module
    raise AssertionError(f"no blocks in {type(model).__name__}")


class Reference:
    """A family's own eager model; its blocks get the naive masks from a pre-hook."""

    def __init__(self, family: Family, dtype: torch.dtype = torch.float32, **changes: Any) -> None:
        self.family = family
        self.model = family.model(**changes).to(dtype)
        self.rights: Sequence[int] = ()
        self.weight = 1.0
        for layer, block in enumerate(blocks_of(self.model)):
            block.register_forward_pre_hook(self._hook(layer), with_kwargs=True)
            for module in block.modules():
                triangle = getattr(module, "bias", None)
                if isinstance(triangle, Tensor) and triangle.dtype == torch.bool:
                    module.bias = torch.ones_like(triangle)  # GPT-Neo's own triangle; the naive mask says it all

    def _hook(self, layer: int) -> Callable[..., Any]:
        def put(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            seen = naive_mask(self.family, layer, self.rights[layer], hidden.shape[1])
            added = torch.zeros(seen.shape, dtype=hidden.dtype).masked_fill(~seen, torch.finfo(hidden.dtype).min)
            ahead = seen & ~naive_mask(self.family, layer, 0, hidden.shape[1])
            added = added.masked_fill(ahead, math.log(self.weight))
            place = list(inspect.signature(type(block).forward).parameters).index("attention_mask") - 1
            if len(args) > place:
                return (*args[:place], added[None, None], *args[place + 1 :]), kwargs
            return args, {**kwargs, "attention_mask": added[None, None]}

        return put

    def run(self, sentence: Tensor, rights: Sequence[int], weight: float = 1.0) -> Tensor:
        """(length, hidden) of one sentence (length,), with a weight for what only the right contexts let it see."""
        self.rights, self.weight = rights, weight
        return self.model(input_ids=sentence[None], use_cache=False).last_hidden_state[0]

    @torch.no_grad()
    def states(self, sentence: Tensor, rights: Sequence[int], weight: float = 1.0) -> Tensor:
        """As `run`, without a gradient."""
        return self.run(sentence, rights, weight)


def sentences(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB, (length,), generator=generator) for length in lengths]


def run_plain(model: PreTrainedModel, rows: Sequence[Tensor]) -> list[Tensor]:
    """Sentences of one length, without a mask."""
    output = model(input_ids=torch.stack(list(rows)), **padded_kwargs(model, None), use_cache=False)
    return list(output.last_hidden_state)


def run_padded(model: PreTrainedModel, rows: Sequence[Tensor], side: str, extra: int = 0) -> list[Tensor]:
    """Sentences of any lengths, padded with junk on one side to the longest and `extra` more."""
    longest = max(len(row) for row in rows) + extra
    ids = torch.full((len(rows), longest), 7)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    places = []
    for index, row in enumerate(rows):
        start = 0 if side == "right" else longest - len(row)
        place = slice(start, start + len(row))
        ids[index, place], mask[index, place] = row, 1
        places.append(place)
    output = model(input_ids=ids, **padded_kwargs(model, mask), use_cache=False).last_hidden_state
    return [output[index, place] for index, place in enumerate(places)]


def run_packed(model: PreTrainedModel, rows: Sequence[Tensor]) -> list[Tensor]:
    """Sentences one after the other in one row."""
    lengths = [len(row) for row in rows]
    kwargs = packed_kwargs(model, lengths, "cpu")
    output = model(input_ids=torch.cat(list(rows))[None], **kwargs, use_cache=False).last_hidden_state[0]
    return list(output.split(lengths))


def layouts(family: Family, thorough: bool) -> Iterator[tuple[str, Callable[[PreTrainedModel], dict[int, Tensor]]]]:
    """Ways to put the sentences through the model: name -> states by the sentence's index."""
    rows = sentences()
    everyone = range(len(rows))

    def named(indices: Sequence[int], run: Callable[..., list[Tensor]], *args: Any) -> Callable[..., dict[int, Tensor]]:
        return lambda model: dict(zip(indices, run(model, [rows[i] for i in indices], *args), strict=True))

    yield "none", named([0], run_plain)
    yield "none", named([0, 2], run_plain)
    for side in ("right", "left"):
        yield side, named(everyone, run_padded, side)
    if family.packs:
        yield "packed", named([0, 2, 1, 3, 4], run_packed)
    if not thorough:
        return
    for index in everyone:
        yield "none", named([index], run_plain)
        for side in ("right", "left"):
            yield side, named([index], run_padded, side, 3)
        if family.packs:
            yield "packed", named([index], run_packed)
    if family.packs:
        yield "packed", named([4, 3, 2, 1, 0], run_packed)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value; infinite where something is not a number."""
    error = float((found.float() - expected.float()).abs().max() / expected.float().abs().max())
    return error if error == error else float("inf")


def rounding(family: Family, dtype: torch.dtype) -> float:
    """How far the family's own eager code in this dtype is from itself in float32, over all plans."""
    exact, rounded = Reference(family), Reference(family, dtype)
    pairs = [(row, rights) for row in sentences() for rights in PLANS.values()]
    return max(difference(rounded.states(*pair), exact.states(*pair)) for pair in pairs)


@torch.no_grad()
def worst_errors(
    family: Family, *, thorough: bool = False, dtype: torch.dtype = torch.float32
) -> dict[tuple[str, str], float]:
    """(backend, layout) -> largest `difference` to the reference in the same dtype, over all plans."""
    reference = Reference(family, dtype)
    rows = sentences()
    worst: dict[tuple[str, str], float] = {}
    model = family.model().to(dtype)
    for rights in PLANS.values():
        expected = [reference.states(row, rights) for row in rows]
        for backend in family.backends:
            apply_plan(model, MaskPlan(rights), backend)
            for layout, run in layouts(family, thorough):
                for index, states in run(model).items():
                    error = difference(states, expected[index])
                    worst[backend, layout] = max(worst.get((backend, layout), 0.0), error)
    return worst


@torch.no_grad()
def influence(family: Family, model: PreTrainedModel, layout: str, length: int) -> Tensor:
    """(layers, length, length): did position i of a layer's output move when token j changed at the layer's input?

    One forward: sequence 0 is clean; at each layer's input sequence j + 1 is made sequence 0 with noise on token j.
    """
    row = sentences([length], seed=1)[0]
    count, pads = length + 1, 3 if layout == "left" else 0
    if layout == "packed":
        ids, kwargs = row.repeat(count)[None], packed_kwargs(model, [length] * count, "cpu")
    elif layout == "left":
        ids = torch.cat([torch.full((pads,), 7), row]).repeat(count, 1)
        mask = torch.cat([torch.zeros(pads, dtype=torch.long), torch.ones_like(row)]).repeat(count, 1)
        kwargs = padded_kwargs(model, mask)
    else:
        ids, kwargs = row.repeat(count, 1), {}
    place = pads + torch.arange(length)[None] + torch.arange(count)[:, None] * (length + pads)
    generator = torch.Generator().manual_seed(2)
    moved = torch.zeros(N_LAYERS, length, length, dtype=torch.bool)

    def before(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        flat = hidden.reshape(-1, hidden.shape[-1]).clone()
        flat[place] = flat[place[0]].clone()
        noise = 3 * flat[place[0]].std() * torch.randn(length, flat.shape[-1], generator=generator)
        flat[place[1:].diagonal()] += noise.to(flat.dtype)
        hidden = flat.view_as(hidden)
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    def after(layer: int) -> Callable[..., None]:
        def compare(block: nn.Module, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            states = hidden.reshape(-1, hidden.shape[-1])[place]
            change = (states[1:] - states[0]).abs().amax(-1) / states[0].std()
            moved[layer] = (change > 1e-5).T

        return compare

    blocks = blocks_of(model)
    handles = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    handles += [block.register_forward_hook(after(layer)) for layer, block in enumerate(blocks)]
    try:
        model(input_ids=ids, **kwargs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return moved
