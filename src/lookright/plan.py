"""Mask plans: how far to the right of itself each layer may look.

A plan holds one right context per layer: 0 is the causal mask of every decoder, ``k > 0`` is a look-ahead of k
sub-words, ``UNBOUNDED`` is no limit. The notation ``"0011"`` (groups of layers, the left-most digit is the lowest
group, 1 = causal mask removed) is that of Dukić and Šnajder 2024 (arXiv 2401.14556).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final, NamedTuple, TypeAlias, Union

from lookright.errors import PlanError

UNBOUNDED: Final = -1
"""The right context of a layer that may look at everything to its right."""

PlanSpec: TypeAlias = Union[str, "Sequence[int | str | None]", "MaskPlan"]
"""What `MaskPlan.parse` reads: a string, a list with one entry per layer, or a plan."""

_FORMS = (
    'write groups of layers as "0011", right contexts per group as "0,0,2,*", or causal, bidirectional, '
    "top:K, bottom:K, layers:A-B"
)


class LayerGroup(NamedTuple):
    """A maximal run of adjacent layers with the same right context; `first` and `last` are both inside."""

    first: int
    last: int
    right_context: int


@dataclass(frozen=True, order=False)
class MaskPlan:
    """One right context per layer; layer 0 is next to the embeddings.

    Attributes:
        right_contexts: per layer 0 (causal), k > 0 (look-ahead in sub-words) or `UNBOUNDED`.

    Raises:
        PlanError: no layers, or an entry that is no right context.
    """

    right_contexts: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "right_contexts", tuple(self.right_contexts))
        if not self.right_contexts:
            raise PlanError("a mask plan needs at least one layer")
        for layer, right in enumerate(self.right_contexts):
            if isinstance(right, bool) or not isinstance(right, int) or right < UNBOUNDED:
                raise PlanError(
                    f"layer {layer} of the mask plan has the right context {right!r}; expected 0 (causal), a positive "
                    f"number of sub-words, or {UNBOUNDED} (unbounded)"
                )

    @classmethod
    def parse(cls, spec: PlanSpec, n_layers: int) -> MaskPlan:
        """Read a plan for a model of `n_layers` layers.

        Args:
            spec: ``"0011"`` (groups, as equal as possible, larger groups first), ``"0,0,2,*"`` (right contexts per
                group; only ``*`` is unbounded; ``"2,"`` is one group), ``"causal"``, ``"bidirectional"``,
                ``"top:8"``, ``"bottom:8"``, ``"layers:3,5-7"`` (these layers unbounded, the others causal), a list
                with one entry per layer (-1, None or ``"*"`` is unbounded), or a plan.
            n_layers: the number of layers of the model.

        Raises:
            PlanError: the specification cannot be read, or does not fit `n_layers`.
        """
        if n_layers < 1:
            raise PlanError(f"a mask plan needs a model with at least one layer, found {n_layers}")
        if isinstance(spec, str):
            return cls(_parse_text(spec.strip(), n_layers))
        entries: Sequence[int | str | None]
        if isinstance(spec, MaskPlan):
            entries = spec.right_contexts
        elif isinstance(spec, Sequence):
            entries = spec
        else:
            raise PlanError(f"a mask plan cannot be read from {type(spec).__name__}; {_FORMS}")
        if len(entries) != n_layers:
            raise PlanError(
                f"the mask plan has {len(entries)} entries but the model has {n_layers} layers; give one per layer"
            )
        return cls(tuple(_list_entry(entry, layer) for layer, entry in enumerate(entries)))

    @classmethod
    def causal(cls, n_layers: int) -> MaskPlan:
        """The plan that leaves every layer's causal mask in place."""
        return cls((0,) * n_layers)

    @classmethod
    def bidirectional(cls, n_layers: int) -> MaskPlan:
        """The plan that removes the causal mask from every layer."""
        return cls((UNBOUNDED,) * n_layers)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.right_contexts)

    @property
    def is_causal(self) -> bool:
        """Whether no layer looks to the right."""
        return not any(self.right_contexts)

    @property
    def is_bidirectional(self) -> bool:
        """Whether every layer looks to the right without limit."""
        return all(right == UNBOUNDED for right in self.right_contexts)

    @property
    def unmasked_layers(self) -> tuple[int, ...]:
        """The layers whose right context is not 0."""
        return tuple(layer for layer, right in enumerate(self.right_contexts) if right)

    @property
    def distinct(self) -> tuple[int, ...]:
        """The different right contexts of the plan, in ascending order (`UNBOUNDED` first)."""
        return tuple(sorted(set(self.right_contexts)))

    @property
    def look_ahead(self) -> int | None:
        """How many sub-words to the right the last layer's output depends on; None when there is no limit."""
        return None if UNBOUNDED in self.right_contexts else sum(self.right_contexts)

    @property
    def largest_finite(self) -> int:
        """The largest right context that has a limit; 0 when there is none."""
        return max(0, *self.right_contexts)

    def groups(self) -> tuple[LayerGroup, ...]:
        """The maximal runs of adjacent layers with the same right context, from the lowest layer up."""
        found: list[LayerGroup] = []
        first = 0
        for right, run in groupby(self.right_contexts):
            last = first + len(list(run)) - 1
            found.append(LayerGroup(first, last, right))
            first = last + 1
        return tuple(found)

    def to_list(self) -> list[int]:
        """The JSON form: one number per layer, `UNBOUNDED` as -1. `parse` reads it back."""
        return list(self.right_contexts)

    def __str__(self) -> str:
        # min() keeps the first of several shortest forms, so the order of the candidates is the order of preference.
        return min(self._spellings(), key=len)

    def _spellings(self) -> Iterator[str]:
        """Specifications that parse back to this plan; a comma form with one group per layer is always among them."""
        rights, n = self.right_contexts, self.n_layers
        for n_groups in range(1, n + 1):
            heads = [rights[group.start] for group in _split(n, n_groups)]
            if _spread(heads, n) != rights:
                continue
            if all(right in (0, UNBOUNDED) for right in heads):
                yield "".join("0" if right == 0 else "1" for right in heads)
            text = ",".join("*" if right == UNBOUNDED else str(right) for right in heads)
            yield text if n_groups > 1 else text + ","
        if all(right in (0, UNBOUNDED) for right in rights):
            opened = self.unmasked_layers
            k = len(opened)
            if opened and opened == tuple(range(n - k, n)):
                yield f"top:{k}"
            if opened and opened == tuple(range(k)):
                yield f"bottom:{k}"
            if opened:
                runs = [(group.first, group.last) for group in self.groups() if group.right_context]
                yield "layers:" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)

    def describe(self) -> str:
        """The plan in words, one sentence."""
        parts = []
        for group in self.groups():
            one = group.first == group.last
            who = f"layer {group.first}" if one else f"layers {group.first}-{group.last}"
            if group.right_context == 0:
                what = "sees only what is to the left" if one else "see only what is to the left"
            elif group.right_context == UNBOUNDED:
                what = "sees everything on both sides" if one else "see everything on both sides"
            else:
                what = f"{'looks' if one else 'look'} {_count(group.right_context, 'sub-word')} to the right"
            parts.append(f"{who} {what}")
        if len(parts) == 1:
            return f"all {_count(self.n_layers, 'layer')}: {parts[0].split(' ', 2)[2]}."
        text = "; ".join(parts)
        return text[0].upper() + text[1:] + "."

    def draw(self, measured: Sequence[int | None] | None = None) -> str:
        """Draw the plan as text, the top layer first.

        Args:
            measured: per layer the right context that a probe measured, None where it measured nothing.

        Raises:
            PlanError: `measured` does not have one entry per layer.
        """
        if measured is not None and len(measured) != self.n_layers:
            raise PlanError(f"{len(measured)} measured right contexts for a plan of {self.n_layers} layers")
        opened = len(self.unmasked_layers)
        reach = "no limit" if self.look_ahead is None else _count(self.look_ahead, "sub-word")
        lines = [
            f"plan {self}: {_count(self.n_layers, 'layer')}, {opened} unmasked, looks ahead in all: {reach}",
            "layer  group  sees            right context" + ("" if measured is None else "  measured"),
        ]
        width = len(str(self.n_layers - 1))
        for number, group in reversed(list(enumerate(self.groups(), start=1))):
            for layer in range(group.last, group.first - 1, -1):
                label = str(number) if layer == group.last else "|"
                right = "unbounded" if group.right_context == UNBOUNDED else str(group.right_context)
                line = f"{layer:>{width}}".rjust(5) + f"  {label:>5}  {_picture(group.right_context)}  {right:>13}"
                if measured is not None:
                    line += f"  {'-' if measured[layer] is None else measured[layer]:>8}"
                lines.append(line)
        return "\n".join(lines)


def ambiguity_note(spec: PlanSpec) -> str | None:
    """What a comma form of only 0s and 1s means, for those who meant the digit form; None for all other forms."""
    if not isinstance(spec, str) or not re.fullmatch(r"\s*[01]\s*(,\s*[01]\s*)+,?\s*", spec) or "1" not in spec:
        return None
    digits = re.sub(r"[^01]", "", spec)
    return (
        f'plan "{spec.strip()}": in the comma form 1 is a look-ahead of one sub-word; '
        f'write "{digits}" to remove the causal mask there'
    )


def _parse_text(text: str, n_layers: int) -> tuple[int, ...]:
    if not text:
        raise PlanError(f"the mask plan is empty; {_FORMS}")
    name, colon, argument = text.partition(":")
    name = name.strip().lower()
    if colon:
        if name in ("top", "bottom"):
            return _parse_end(text, name, argument.strip(), n_layers)
        if name == "layers":
            return _parse_layers(text, argument, n_layers)
        raise PlanError(f'mask plan "{text}": unknown form "{name}:"; {_FORMS}')
    if name == "auto":
        raise PlanError(
            'the plan "auto" is searched for in training: Tagger.fit(plan="auto"), `lookright train --plan auto`, or '
            "`lookright search`"
        )
    if name == "causal":
        return (0,) * n_layers
    if name == "bidirectional":
        return (UNBOUNDED,) * n_layers
    heads = _comma_heads(text) if "," in text or text == "*" else _digit_heads(text)
    if len(heads) > n_layers:
        raise PlanError(
            f'mask plan "{text}" has {len(heads)} groups but the model has {_count(n_layers, "layer")}; '
            f"use at most {_count(n_layers, 'group')}"
        )
    return _spread(heads, n_layers)


def _digit_heads(text: str) -> list[int]:
    for place, sign in enumerate(text, start=1):
        if sign in "01":
            continue
        if sign in "23456789":
            hint = f'for a look-ahead put commas between the groups, as in "0,{sign}"'
        elif sign == "-":
            hint = "a right context cannot be negative; write * for unbounded"
        else:
            hint = _FORMS
        raise PlanError(f'mask plan "{text}": found "{sign}" at place {place}, expected 0 or 1; {hint}')
    return [UNBOUNDED if sign == "1" else 0 for sign in text]


def _comma_heads(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and parts[1] == "":  # "2," is one group, as a tuple of one is written
        parts.pop()
    return [_context(part, f'mask plan "{text}", group {place}') for place, part in enumerate(parts, start=1)]


def _context(part: str, where: str) -> int:
    """One right context of a comma form or a list."""
    if part == "*":
        return UNBOUNDED
    if re.fullmatch(r"[0-9]{1,9}", part):
        return int(part)
    if not part:
        raise PlanError(f"{where}: nothing there; expected 0, a number of sub-words, or * (unbounded)")
    if re.fullmatch(r"-[0-9]+", part):
        raise PlanError(f'{where}: "{part}" is negative; expected 0, a number of sub-words, or * (unbounded)')
    raise PlanError(f'{where}: found "{part}", expected 0, a number of sub-words, or * (unbounded)')


def _list_entry(entry: int | str | None, layer: int) -> int:
    if entry is None:
        return UNBOUNDED
    if isinstance(entry, str):
        return _context(entry.strip(), f"mask plan, layer {layer}")
    return entry  # judged by MaskPlan itself


def _parse_end(text: str, name: str, argument: str, n_layers: int) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]{1,9}", argument):
        raise PlanError(f'mask plan "{text}": found "{argument}", expected a number of layers, as in "{name}:4"')
    k = int(argument)
    if k > n_layers:
        raise PlanError(f'mask plan "{text}": the model has only {_count(n_layers, "layer")}; use at most {n_layers}')
    opened, closed = (UNBOUNDED,) * k, (0,) * (n_layers - k)
    return closed + opened if name == "top" else opened + closed


def _parse_layers(text: str, argument: str, n_layers: int) -> tuple[int, ...]:
    rights = [0] * n_layers
    for part in argument.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if match is None:
            raise PlanError(
                f'mask plan "{text}": found "{part.strip()}", expected a layer or a range, as in "layers:3,5-7"'
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first:
            raise PlanError(f'mask plan "{text}": the range {first}-{last} runs backwards; write {last}-{first}')
        if last >= n_layers:
            raise PlanError(
                f'mask plan "{text}": there is no layer {last}; the model has {_count(n_layers, "layer")}, '
                f"counted from 0 to {n_layers - 1}"
            )
        rights[first : last + 1] = [UNBOUNDED] * (last + 1 - first)
    return tuple(rights)


def _split(n_layers: int, n_groups: int) -> list[range]:
    """Cut layers into groups as equal as possible, the larger groups first (the papers' division)."""
    size, larger = divmod(n_layers, n_groups)
    starts = [group * size + min(group, larger) for group in range(n_groups + 1)]
    return [range(start, stop) for start, stop in pairwise(starts)]


def _spread(heads: Sequence[int], n_layers: int) -> tuple[int, ...]:
    groups = _split(n_layers, len(heads))
    return tuple(right for right, layers in zip(heads, groups, strict=True) for _ in layers)


def _picture(right: int) -> str:
    """A token (o) in the middle of what it sees, always 14 characters wide."""
    if right == 0:
        return "<-----o       "
    if right == UNBOUNDED:
        return "<-----o------>"
    return "<-----o" + ("-" * min(right, 5) + "|").ljust(7)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
