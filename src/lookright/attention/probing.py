"""Measuring how far to the right each layer of a model really looks.

A plan that does not take effect still runs, so no model is trusted before it was measured. One clean pass records what
enters and leaves each layer. In a second pass each layer gets its clean input again, except that one token carries
noise; the positions whose output changed are the positions that see this token. Noise on the last token measures the
right context. Noise on padding, or on another sequence of a packed row, must change nothing.

What changed is read at the output of the layer, and at the output of its attention: there weak attention does not drown
in the residual stream of half precision, and experts, which round a token differently when another one moves, have not
run yet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lookright.attention.architecture import (
    attention_modules,
    bare_decoder,
    decoder_layers,
    layer_limit,
    recurrent_modules,
)
from lookright.attention.install import can_pack, current_plan, packed_kwargs, padded_kwargs
from lookright.errors import ModelFolderError, PlanNotHeldError, UnsupportedModelError
from lookright.plan import UNBOUNDED, MaskPlan

SHORTEST: Final = 8
LONGEST: Final = 512
PADS: Final = 3
DRAWS: Final = 3
# A position that sees nothing of the noise is bitwise unchanged, except where kernels work on the whole batch at once
# (experts, int8 columns). Those leave a floor in a layer's output, measured on a row that cannot be concerned.
TINY: Final = 2e-6
FLOOR_FACTOR: Final = 4.0
LARGEST_FLOOR: Final = 0.05
COMPANY: Final = {torch.float32: 1e-3, torch.float64: 1e-3}
COMPANY_HALF: Final = 0.1


@dataclass(frozen=True)
class PathReport:
    """What was measured on one way through the model.

    Attributes:
        path: "plain" (no mask), "padded" (padding on both sides) or "packed" (several sequences in one row).
        measured: per layer, how far to the right of itself a token sees.
        strangers: layers in which a token sees another sequence.
        padding: layers in which a token sees padding.
        company: whether the first layer gives a sentence the same states as when it is alone.
    """

    path: str
    measured: tuple[int, ...]
    strangers: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    company: bool = True


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found.

    Attributes:
        plan: the plan that the model carries.
        length: sub-words of the probe sentence; nothing above `length - 1` can be measured.
        expected: per layer, the right context that the plan asks for, less what the layer's own window takes away.
        paths: one report per path.
    """

    plan: MaskPlan
    length: int
    expected: tuple[int, ...]
    paths: tuple[PathReport, ...] = field(default=())

    @property
    def measured(self) -> tuple[int, ...]:
        """Per layer the measured right context; of several paths the one that is off, where one is."""
        columns = zip(self.expected, *(path.measured for path in self.paths), strict=True)
        return tuple(next((right for right in column[1:] if right != column[0]), column[0]) for column in columns)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one phrase each; empty when the plan holds."""
        found = []
        for path in self.paths:
            for layer, (asked, seen) in enumerate(zip(self.expected, path.measured, strict=True)):
                if asked != seen:
                    right = self.plan.right_contexts[layer]
                    plan = "unbounded" if right == UNBOUNDED else str(right)
                    found.append(
                        f"layer {layer} ({path.path}): the plan asks {plan}, which is {asked} here, measured {seen}"
                    )
            if path.strangers:
                found.append(f"layers {_join(path.strangers)} ({path.path}): a token sees another sequence")
            if path.padding:
                found.append(f"layers {_join(path.padding)} ({path.path}): a token sees padding")
            if not path.company:
                found.append(f"({path.path}): a sentence gets other states than alone; its positions are off")
        return tuple(found)


def expected_right_contexts(config: PreTrainedConfig, plan: MaskPlan, length: int) -> tuple[int, ...]:
    """What a probe of `length` sub-words must measure per layer.

    The noise sits on the last token, so the largest measurable right context is `length - 1`. A window of w shows w - 1
    tokens on either side; a chunk ends the view at the last chunk's first token.
    """
    expected = []
    for layer, right in enumerate(plan.right_contexts):
        limit = layer_limit(config, layer)
        reach = length - 1 if right == UNBOUNDED else min(right, length - 1)
        if limit.window is not None:
            reach = min(reach, limit.window - 1)
        if limit.chunk is not None:
            reach = min(reach, (length - 1) % limit.chunk)
        expected.append(reach)
    return tuple(expected)


def probe(model: nn.Module, *, packed: bool | None = None) -> ProbeReport:
    """Measure each layer's right context on every path that will be used.

    The probe sentence is longer than the largest finite right context, up to `LONGEST` sub-words: above that, the plan
    is only held to look at least so far.

    Args:
        model: a decoder that `apply_plan` was called on.
        packed: whether to measure packed rows; None measures them where `can_pack` holds.

    Raises:
        UnsupportedModelError: the model carries no plan, or its layers cannot be measured.
        ModelFolderError: the weights are damaged: a layer gives no finite numbers.
    """
    owner = bare_decoder(model)
    plan = current_plan(owner)
    if plan is None:
        raise UnsupportedModelError(f"{owner.config.model_type} carries no plan: call apply_plan first")
    length = _probe_length(owner.config, plan)
    expected = expected_right_contexts(owner.config, plan, length)
    with _quiet(owner), torch.no_grad():
        plain, alone, floor = _probe_plain(owner, length, expected)
        paths = [plain, _probe_padded(owner, length, expected, alone, floor)]
        if can_pack(owner) if packed is None else packed:
            paths.append(_probe_packed(owner, length, expected, alone, floor))
    return ProbeReport(plan, length, expected, tuple(paths))


def check_plan(model: nn.Module) -> ProbeReport:
    """Probe a model and raise where it does not do what its plan says.

    Raises:
        PlanNotHeldError: names the layers, what was asked, and what was measured on which path.
        UnsupportedModelError: the model carries no plan, or its layers cannot be measured.
    """
    report = probe(model)
    if report.problems:
        shown = "; ".join(report.problems[:8])
        more = f"; and {len(report.problems) - 8} more" if len(report.problems) > 8 else ""
        raise PlanNotHeldError(
            f"the plan {report.plan} does not hold in this {bare_decoder(model).config.model_type}, measured with "
            f"{report.length} sub-words: {shown}{more}; try another backend, or report the family"
        )
    return report


@dataclass
class _Recording:
    """Per layer what entered it, what left it, and what left its attention: (rows, length, hidden)."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    attended: dict[int, Tensor] = field(default_factory=dict)


def _probe_plain(
    owner: PreTrainedModel, length: int, expected: tuple[int, ...]
) -> tuple[PathReport, Tensor, list[float]]:
    """Two rows without a mask; the second row is a stranger that gives the floor. Also the first layer's output."""
    ids = _sentences(owner, 2, length)
    kwargs = {"input_ids": ids}
    clean = _run(owner, kwargs, None)
    damaged = next((layer for layer, out in enumerate(clean.outputs) if not bool(torch.isfinite(out).all())), None)
    if damaged is not None:
        raise ModelFolderError(
            f"layer {damaged} of this {owner.config.model_type} gives no finite numbers: its weights are damaged, or "
            "its training had diverged"
        )
    here = torch.zeros(ids.shape, dtype=torch.bool)
    here[0, -1] = True
    row = torch.arange(length)
    measured, floor = _measure(owner, kwargs, clean, here, row, expected, None)
    strangers = tuple(layer for layer, size in enumerate(floor) if size > LARGEST_FLOOR)
    return PathReport("plain", measured, strangers), clean.outputs[0].flatten(0, 1), floor


def _probe_padded(
    owner: PreTrainedModel, length: int, expected: tuple[int, ...], alone: Tensor, floor: list[float]
) -> PathReport:
    """The same two sentences with padding on both sides; then noise on the padding."""
    sentences = _sentences(owner, 2, length)
    ids = nn.functional.pad(sentences, (PADS, PADS), value=0)
    attention_mask = nn.functional.pad(torch.ones_like(sentences), (PADS, PADS), value=0)
    kwargs = {"input_ids": ids, **padded_kwargs(owner, attention_mask)}
    clean = _run(owner, kwargs, None)
    real = attention_mask.bool().cpu()
    here = torch.zeros_like(real)
    here[0, PADS + length - 1] = True
    row = torch.arange(PADS, PADS + length)
    measured, _ = _measure(owner, kwargs, clean, here, row, expected, floor)
    moved = _moved(clean, _run(owner, kwargs, (clean, ~real, 0)), floor, attention_only=True)
    padding = tuple(layer for layer, where in enumerate(moved) if bool(where[real].any()))
    company = _same(clean.outputs[0][real], alone)
    return PathReport("padded", measured, (), padding, company)


def _probe_packed(
    owner: PreTrainedModel, length: int, expected: tuple[int, ...], alone: Tensor, floor: list[float]
) -> PathReport:
    """Four sequences in one row, two of one length side by side; noise on the second's last, then first token."""
    lengths = (length, length, length + 1, 1)
    sentences = _sentences(owner, 2, length)
    more = _sentences(owner, 1, length + 2, seed=1)
    ids = torch.cat([sentences.flatten(), more.flatten()]).unsqueeze(0)
    kwargs = {"input_ids": ids, **packed_kwargs(owner, lengths, ids.device)}
    clean = _run(owner, kwargs, None)
    here = torch.zeros(ids.shape, dtype=torch.bool)
    here[0, 2 * length - 1] = True
    row = torch.arange(length, 2 * length)
    measured, _ = _measure(owner, kwargs, clean, here, row, expected, floor)
    outside = torch.ones_like(here)
    outside[0, row] = False
    strangers: set[int] = set()
    for place in (length, 2 * length - 1):
        noisy = torch.zeros_like(here)
        noisy[0, place] = True
        moved = _moved(clean, _run(owner, kwargs, (clean, noisy, 0)), floor, attention_only=True)
        strangers |= {layer for layer, where in enumerate(moved) if bool(where[outside].any())}
    company = _same(clean.outputs[0][0, : 2 * length], alone)
    return PathReport("packed", measured, tuple(sorted(strangers)), (), company)


def _measure(
    owner: PreTrainedModel,
    kwargs: dict[str, Any],
    clean: _Recording,
    here: Tensor,
    row: Tensor,
    expected: tuple[int, ...],
    floor: list[float] | None,
) -> tuple[tuple[int, ...], list[float]]:
    """Noise on the token `here`, the last of the positions `row`: how far back each layer's output changes.

    Weak attention can hide under the rounding of half precision, so a layer that seems to see too little gets up to
    `DRAWS` draws of noise and counts what any of them moved.

    Returns:
        The right contexts, and the floors: what changed in other rows, relative to the size of the states.
    """
    which = int(here.nonzero()[0, 0])
    seen = [0] * len(expected)
    floors = [0.0] * len(expected) if floor is None else floor
    for draw in range(DRAWS):
        noisy = _run(owner, kwargs, (clean, here, draw))
        if floor is None:
            sizes = [_change(a, b) for a, b in zip(clean.outputs, noisy.outputs, strict=True)]
            other = torch.arange(here.shape[0]) != which
            floors = [max(old, float(size[other].max())) for old, size in zip(floors, sizes, strict=True)]
        for layer, where in enumerate(_moved(clean, noisy, floors, attention_only=floor is not None)):
            changed = where[which, row].nonzero().flatten().tolist()
            if changed:
                seen[layer] = max(seen[layer], len(row) - 1 - min(changed))
        if all(a >= b for a, b in zip(seen, expected, strict=True)):
            break
    return tuple(seen), floors


def _run(owner: PreTrainedModel, kwargs: dict[str, Any], noise: tuple[_Recording, Tensor, int] | None) -> _Recording:
    """One forward pass. With noise (clean recording, where, seed) each layer gets its clean input plus noise there."""
    record = _Recording()

    def before(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        hidden = args[0] if args else named["hidden_states"]
        index = len(record.inputs)
        record.inputs.append(hidden)
        if noise is None:
            return None
        clean, where, seed = noise
        hidden = _with_noise(clean.inputs[index], where, seed * len(clean.inputs) + index)
        return ((hidden, *args[1:]), named) if args else (args, {**named, "hidden_states": hidden})

    def after(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        record.outputs.append(output[0] if isinstance(output, tuple) else output)

    def attend(index: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        record.attended[index] = output[0] if isinstance(output, tuple) else output

    layers = decoder_layers(owner)
    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    handles += [layer.register_forward_hook(after) for layer in layers]
    for index, layer in enumerate(layers):
        if (mixer := _only_mixer(layer)) is not None:
            handles.append(mixer.register_forward_hook(partial(attend, index)))
    try:
        owner(**kwargs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if len(record.outputs) != len(layers) or record.outputs[0].dim() != 3:
        raise UnsupportedModelError(
            f"{owner.config.model_type}: {len(record.outputs)} of {len(layers)} layers ran once on states of shape "
            "(rows, length, hidden); its right contexts cannot be measured"
        )
    return record


def _with_noise(hidden: Tensor, where: Tensor, seed: int) -> Tensor:
    """Add noise of three times the states' own size at the positions `where` (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((int(where.sum()), hidden.shape[-1]), generator=generator)
    where = where.to(hidden.device)
    size = hidden[where].float().pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-3)
    noisy = hidden.clone()
    noisy[where] += (3.0 * size * noise.to(hidden.device)).to(hidden.dtype)
    return noisy


def _change(clean: Tensor, noisy: Tensor) -> Tensor:
    """(rows, length) largest change of any unit, relative to the size of the states; on the CPU, as positions are."""
    size = clean.float().pow(2).mean().sqrt().clamp_min(1e-12)
    return ((noisy.float() - clean.float()).abs().amax(-1) / size).cpu()


def _moved(clean: _Recording, noisy: _Recording, floor: list[float], *, attention_only: bool) -> list[Tensor]:
    """Per layer (rows, length): what changed by more than the floor. Not-a-number counts as changed.

    Args:
        clean: without noise.
        noisy: with noise.
        floor: per layer, for the outputs of whole layers.
        attention_only: look at attention where it was recorded, and at whole layers only elsewhere.
    """
    found = []
    for index, (before, after, size) in enumerate(zip(clean.outputs, noisy.outputs, floor, strict=True)):
        moved = torch.zeros(before.shape[:2], dtype=torch.bool)
        if index in clean.attended:
            moved |= ~(_change(clean.attended[index], noisy.attended[index]) <= TINY)
        if index not in clean.attended or not attention_only:
            moved |= ~(_change(before, after) <= max(TINY, FLOOR_FACTOR * size))
        found.append(moved)
    return found


def _only_mixer(layer: nn.Module) -> nn.Module | None:
    """The one module through which tokens of this layer see each other, where there is exactly one."""
    outermost = attention_modules(layer)[:1]
    inside = set(outermost[0].modules()) if outermost else set()
    if recurrent_modules(layer) or not outermost or not inside.issuperset(attention_modules(layer)):
        return None
    return outermost[0]


def _same(states: Tensor, alone: Tensor) -> bool:
    """Whether the states of most tokens of both sentences are those of the sentence alone, up to rounding.

    Most, because rounding can send a token to another expert. Shapes (2 * length, hidden).
    """
    difference = (states.float() - alone.float()).pow(2).mean(-1).sqrt()
    size = alone.float().pow(2).mean(-1).sqrt().clamp_min(1e-12)
    typical = (difference / size).view(2, -1).median(-1).values
    return bool((typical <= COMPANY.get(alone.dtype, COMPANY_HALF)).all())


def _sentences(owner: PreTrainedModel, rows: int, length: int, seed: int = 0) -> Tensor:
    """(rows, length) random ids, away from the special tokens at the start of the vocabulary where there is room."""
    vocab = int(owner.config.vocab_size)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(min(8, vocab - 1), vocab, (rows, length), generator=generator)
    embeddings = owner.get_input_embeddings()
    device = next((p.device for p in embeddings.parameters()), torch.device("cpu"))
    return ids.to(device)


def _probe_length(config: PreTrainedConfig, plan: MaskPlan) -> int:
    most = getattr(config, "max_position_embeddings", None)
    room = LONGEST if not isinstance(most, int) or most < 1 else min(LONGEST, most - 2 * PADS)
    return max(2, min(max(plan.largest_finite + 3, SHORTEST), room))


@contextlib.contextmanager
def _quiet(owner: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, and every module's own mode back afterwards."""
    modes = {module: module.training for module in owner.modules()}
    owner.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _join(layers: tuple[int, ...]) -> str:
    return ",".join(str(layer) for layer in layers)
