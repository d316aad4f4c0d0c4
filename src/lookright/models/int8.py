"""Linear layers with 8-bit weights for prediction on processors.

    weights: one scale per output (row of the matrix), fixed when the layer is made
    inputs:  one scale per token, found anew in each call

Both are symmetric. A scale per token, and never one for a whole batch, so that what a token gets does not depend on the
company it keeps. The products are exact in integers; only the rounding to 8 bits loses anything (Dettmers et al. 2022,
arXiv 2208.07339, section 2.1: vector-wise quantisation).
"""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from typing import Final, NamedTuple

import torch
from torch import Tensor, library, nn

LARGEST: Final = 127
ROOM: Final = 1 + 2**-7
"""A scale is rounded to bfloat16, which may take 2**-8 of it away."""
SMALLEST_SCALE: Final = 1e-30
"""Of a token whose inputs are all zero."""
CHUNK: Final = 128
"""Rows that are rounded at a time."""
LEAST_WIDTH: Final = 16
"""Narrower matrices stay as they are: nothing is gained there."""

ROUTERS: Final = frozenset({"gate", "router"})
"""Names of the layers that choose experts: rounding would choose others."""

_handles = itertools.count()
_packed: weakref.WeakValueDictionary[int, _Packed] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class _Packed:
    """A weight matrix in oneDNN's own layout, with its scales."""

    def __init__(self, weight: Tensor) -> None:
        scale = (weight.detach().float().abs().amax(1) / LARGEST).clamp_min(SMALLEST_SCALE)
        rounded = (weight.detach().float() / scale[:, None]).round_().to(torch.int8)
        self.matrix = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.scale = scale
        self.zero = torch.zeros(len(weight), dtype=torch.int32)

    def __deepcopy__(self, memo: object) -> _Packed:
        return self  # nothing changes it


@functools.cache
def why_no_int8() -> str | None:
    """Why this machine has no fast 8-bit products; None where it has."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.onednn, "qlinear_pointwise"):  # type: ignore[no-untyped-call]
        return "this build of torch has no oneDNN"
    # Without these instructions oneDNN adds pairs of products in 16 bits, which overflow.
    if not torch.cpu._is_vnni_supported():
        return "this processor has no VNNI instructions"
    return None


@library.custom_op("lookright::int8_products", mutates_args=())
def int8_products(rounded: Tensor, handle: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Rows of 8-bit numbers times a packed matrix, times the matrix's scales.

    An operator of its own, since compiled code cannot take oneDNN's layout as an argument: it takes a number for it.

    Args:
        rounded: int8 (tokens, inputs).
        handle: int64 (), which packed matrix.
        outputs: its rows.
        dtype: of the result.

    Returns:
        (tokens, outputs).
    """
    packed = _packed[int(handle)]
    result: Tensor = torch.ops.onednn.qlinear_pointwise(
        rounded, 1.0, 0, packed.matrix, packed.scale, packed.zero, None, 1.0, 0, dtype, "none", [], ""
    )
    return result


@int8_products.register_fake
def _(rounded: Tensor, handle: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    return rounded.new_empty((rounded.shape[0], outputs), dtype=dtype)


class Rounded(NamedTuple):
    """Inputs of a layer as 8-bit numbers.

    Attributes:
        hidden: the inputs.
        user: the module whose layers take them.
        rows: int8 (tokens, inputs).
        scale: (tokens, 1), in the inputs' format.
    """

    hidden: Tensor
    user: int
    rows: Tensor
    scale: Tensor


class LastRounded:
    """What was rounded last: the layers that begin a module (queries, keys and values; gate and up) take the same.

    One for all layers of a model, so that no more than one stays alive.
    """

    def __init__(self) -> None:
        self.last: Rounded | None = None

    def __deepcopy__(self, memo: object) -> LastRounded:
        return LastRounded()

    def of(self, hidden: Tensor, user: int) -> Rounded:
        """Round the inputs of a layer, or take what another layer of the same module rounded."""
        if torch.compiler.is_compiling():  # which does not compute the same twice
            return self._round(hidden, user)
        last = self.last  # another thread may replace it
        if last is None or last.hidden is not hidden or last.user != user:
            last = self.last = self._round(hidden, user)
        return last

    @staticmethod
    def _round(hidden: Tensor, user: int) -> Rounded:
        rows = hidden.reshape(-1, hidden.shape[-1])
        if torch.compiler.is_compiling() or len(rows) <= CHUNK:  # compiled code is one loop over all
            whole, scale = _round_rows(rows)
            return Rounded(hidden, user, whole.to(torch.int8), scale)
        # Few rows at a time: in the processor's cache this takes 0.6 of the time.
        rounded, scale = torch.empty_like(rows, dtype=torch.int8), torch.empty_like(rows[:, :1])
        for begin in range(0, len(rows), CHUNK):
            chunk = slice(begin, begin + CHUNK)
            values, scale[chunk] = _round_rows(rows[chunk])
            rounded[chunk] = values
        return Rounded(hidden, user, rounded, scale)


def _round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as 8-bit numbers, still in float32, and what to multiply them by, in the format of the rows."""
    values = rows.float()
    # A little more than needed: rounding it to the inputs' format, as it multiplies, must not make it too small.
    scale = (values.abs().amax(-1, keepdim=True) * (ROOM / LARGEST)).clamp_min(SMALLEST_SCALE).to(rows.dtype)
    return (values * scale.float().reciprocal()).round_(), scale


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights; inputs and outputs stay in their own number format.

    Args:
        linear: the layer that it stands for, on the CPU. Its weights are not kept.
        shared: of the model.
        user: the module that it is in.
    """

    handle: Tensor

    def __init__(self, linear: nn.Linear, shared: LastRounded | None = None, user: int = 0) -> None:
        super().__init__()
        self.shared, self.user = shared or LastRounded(), user
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.packed = _Packed(linear.weight)
        with _lock:
            number = next(_handles)
            _packed[number] = self.packed
        self.register_buffer("handle", torch.tensor(number), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        rounded = self.shared.of(hidden, self.user)
        dtype = torch.bfloat16 if hidden.dtype == torch.bfloat16 else torch.float32
        result = int8_products(rounded.rows, self.handle, self.out_features, dtype) * rounded.scale
        if self.bias is not None:
            result = result + self.bias
        shaped: Tensor = result.to(hidden.dtype).view(*hidden.shape[:-1], self.out_features)
        return shaped

    def extra_repr(self) -> str:
        """Its shape, in a printed model."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def with_int8_weights(module: nn.Module) -> int:
    """Put 8-bit layers in the place of a module's linear layers, in place.

    Classes that only inherit from `nn.Linear` stay: they do something of their own. So do the routers of experts.

    Returns:
        How many there were.
    """
    count, shared = 0, LastRounded()
    for user, parent in enumerate(list(module.modules())):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear or name in ROUTERS:
                continue
            assert isinstance(child, nn.Linear)
            if min(child.in_features, child.out_features) >= LEAST_WIDTH:
                setattr(parent, name, Int8Linear(child, shared, user))
                count += 1
    return count


def has_int8_weights(module: nn.Module) -> bool:
    """Whether `with_int8_weights` was called on a module, or on something in it."""
    return any(isinstance(child, Int8Linear) for child in module.modules())
