"""The optimizers of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

Group = dict[str, Any]


class MuonAdamW(Optimizer):
    """Muon for the matrices between embeddings and head, AdamW for all else, as one optimizer.

    Muon (K. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") makes the update of a matrix
    orthogonal. Its step is scaled to the size of one of AdamW (arXiv 2502.16982, section 2.2), so that both take
    learning rates of the same order.

    Args:
        matrices: groups of matrices.
        others: groups of all other weights.
        betas, eps, fused: of AdamW.
    """

    def __init__(
        self,
        matrices: Sequence[Group],
        others: Sequence[Group],
        *,
        betas: tuple[float, float],
        eps: float,
        fused: bool,
    ) -> None:
        self._muon = torch.optim.Muon(list(matrices), adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(list(others), betas=betas, eps=eps, fused=fused)
        self._n_muon = len(self._muon.param_groups)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the two work on this optimizer's own groups and state, so that it is saved and scheduled as one."""
        self._muon.param_groups = self.param_groups[: self._n_muon]
        self._adamw.param_groups = self.param_groups[self._n_muon :]
        self._muon.state = self._adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of another one over."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all weights."""
        loss = None if closure is None else closure()
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()
        return loss


def hidden_matrices(model: PreTrainedModel) -> set[str]:
    """The names of the weights that Muon is for: matrices that are neither embeddings nor the language-model head."""
    outer = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = model.get_output_embeddings()
    outer |= set() if head is None else {id(parameter) for parameter in head.parameters()}
    return {name for name, p in model.named_parameters() if p.ndim == 2 and id(p) not in outer}


def make_optimizer(
    groups: Mapping[tuple[bool, float, float], list[nn.Parameter]],
    *,
    betas: tuple[float, float],
    eps: float,
    device: torch.device,
) -> Optimizer:
    """AdamW (arXiv 1711.05101), or Muon with AdamW where a group asks for Muon.

    Args:
        groups: weights by whether Muon is to serve them, learning rate and decay.
        betas: of AdamW.
        eps: of AdamW.
        device: of the weights.
    """
    kinds: dict[bool, list[Group]] = {True: [], False: []}
    for (muon, learning_rate, decay), parameters in sorted(groups.items(), key=lambda item: item[0]):
        kinds[muon].append({"params": parameters, "lr": learning_rate, "weight_decay": decay})
    fused = device.type in ("cpu", "cuda")  # elsewhere the fused kernel is not there in all versions
    if kinds[True]:
        return MuonAdamW(kinds[True], kinds[False], betas=betas, eps=eps, fused=fused)
    return torch.optim.AdamW(kinds[False], betas=betas, eps=eps, fused=fused)
