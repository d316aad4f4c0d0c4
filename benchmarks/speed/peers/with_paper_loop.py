"""The model and the loop of Dukić and Šnajder 2024 (arXiv 2401.14556), rewritten on current transformers.

Taken over: one mask for the layers that see to the left (causal and padding) and one for those that see both ways
(padding only), chosen layer by layer; eager attention (what they had) or SDPA with the same masks; dropout 0.1 and a
linear head on every sub-word; cutting at 128 sub-words; batches of 16 in random order, padded to their longest;
accumulation over 4 batches with their order of calls, by which three of four gradients are thrown away; AdamW with
betas 0.9 and 0.95, weight decay 0.1 but on biases and norms; clipping at 1; cosine schedule over all batches;
recomputation of activations, if asked for; best label by argmax in evaluation.
Other than theirs: all weights are trained in float32 with PyTorch's AdamW, in place of 4-bit weights with adapters and
a paged 8-bit optimizer, which need a GPU; batches are put together in the same process, which is kinder on few cores.
"""

from __future__ import annotations

from typing import Any

import child
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, RandomSampler
from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

CUT = 128
ACCUMULATED = 4


class LayerByLayer(nn.Module):
    """A Llama with a mask for each layer, and a head on every sub-word."""

    def __init__(self, folder: str, first_open: int, attention: str, recompute: bool) -> None:
        super().__init__()
        stock = AutoModelForTokenClassification.from_pretrained(folder, attn_implementation=attention)
        self.model, self.score, self.dropout = stock.model, stock.score, nn.Dropout(0.1)
        self.opened = [index >= first_open for index in range(len(stock.model.layers))]
        self.recompute = recompute

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        hidden = self.model.embed_tokens(input_ids)
        length = input_ids.shape[1]
        position_ids = torch.arange(length, device=input_ids.device)[None]
        lowest = torch.finfo(hidden.dtype).min
        padding = torch.zeros_like(attention_mask, dtype=hidden.dtype).masked_fill_(attention_mask == 0, lowest)
        both_ways = padding[:, None, None, :].expand(-1, 1, length, -1)
        ahead = torch.full((length, length), lowest, dtype=hidden.dtype, device=hidden.device).triu(1)
        to_the_left = both_ways + ahead
        rotary = self.model.rotary_emb(hidden, position_ids=position_ids)
        for opened, layer in zip(self.opened, self.model.layers, strict=True):
            given = {
                "attention_mask": both_ways if opened else to_the_left,
                "position_ids": position_ids,
                "position_embeddings": rotary,
                "use_cache": False,
            }
            if self.recompute and self.training:
                hidden = checkpoint(layer, hidden, use_reentrant=False, **given)
            else:
                hidden = layer(hidden, **given)
        logits = self.score(self.dropout(self.model.norm(hidden)))
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


class Sentences(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Sentences that are turned into sub-words each time they are asked for, as in the original."""

    def __init__(self, rows: list[dict[str, Any]], tokenizer: Any, ids: dict[str, int]) -> None:
        self.rows, self.tokenizer, self.ids = rows, tokenizer, ids

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        return child.aligned(self.tokenizer, row["tokens"], [self.ids[tag] for tag in row["tags"]], max_length=CUT)


def necessities(model: nn.Module, n_batches: int) -> tuple[Any, Any]:
    """The optimizer with two groups, and the schedule."""
    decayed = [p for name, p in model.named_parameters() if "norm" not in name and "bias" not in name]
    kept = [p for name, p in model.named_parameters() if "norm" in name or "bias" in name]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-4, betas=(0.9, 0.95), eps=1e-5)
    return optimizer, CosineAnnealingLR(optimizer, T_max=n_batches)


def prepare(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    labels = child.labels_of(case)
    model = LayerByLayer(case["model"], case["first_open"], case["attention"], bool(case.get("recompute")))
    facts = {"transformers": transformers.__version__, "weights": child.weights_sum(model)}
    data = Sentences(child.read_sentences(case), tokenizer, {label: i for i, label in enumerate(labels)})
    collator = DataCollatorForTokenClassification(tokenizer, padding="longest")
    batches = child.watch_batches(model, tokenizer.pad_token_id)

    def part(sentences: int | None) -> Any:
        return data if sentences is None else torch.utils.data.Subset(data, range(min(sentences, len(data))))

    def train(sentences: int | None = None) -> dict[str, Any]:
        chosen = part(sentences)
        sampler = RandomSampler(chosen, generator=torch.Generator().manual_seed(case["seed"]))
        loader: Any = DataLoader(chosen, batch_size=case["batch_size"], collate_fn=collator, sampler=sampler)
        accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATED, cpu=case["device"] == "cpu")
        optimizer, scheduler = necessities(model, len(loader))
        ready, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
        ready.train()
        batches.clear()
        total = 0.0
        with child.timed() as timer:
            for batch in loader:
                with accelerator.accumulate(ready):
                    ready.zero_grad()
                    optimizer.zero_grad()
                    loss = ready(**batch)["loss"]
                    total += loss.item() * batch["labels"].shape[0]
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(ready.parameters(), 1.0)
                    optimizer.step()
                    scheduler.step()
        accelerator.free_memory()
        return {**child.result(timer.seconds, timer.cpu_seconds, batches), "loss": total / len(chosen)}

    @torch.no_grad()
    def predict(sentences: int | None = None) -> dict[str, Any]:
        """Their evaluation: words in, labels out."""
        model.eval()
        batches.clear()
        with child.timed() as timer:
            loader: Any = DataLoader(part(sentences), batch_size=case["batch_size"], collate_fn=collator)
            for batch in loader:
                best = model(**batch)["logits"].argmax(-1)
                [
                    [labels[p] for p, g in zip(row, truth, strict=True) if g != -100]
                    for row, truth in zip(best.tolist(), batch["labels"].tolist(), strict=True)
                ]
        return child.result(timer.seconds, timer.cpu_seconds, batches)

    once = train if case["activity"] == "train" else predict
    once(sentences=4 * case["batch_size"])
    return once, facts


if __name__ == "__main__":
    child.serve(prepare)
