"""A small causal base for the foundation study: a Llama-shaped decoder pretrained for twenty minutes at most.

It exists to choose provisional defaults (which sub-word carries the label) on weights that know a little English.
The bundled base replaces it.

    python benchmarks/foundation/small_base.py --corpus CORPUS_DIR --out OUT [--minutes 20]

CORPUS_DIR holds *.txt.xz files, documents separated by blank lines.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lookright.models.new_tokenizer import train_tokenizer

MEGABYTES_PER_FILE = 6


def documents(path: Path, megabytes: float) -> Iterator[str]:
    """Documents of one packed file, until `megabytes` of text have been read."""
    lines: list[str] = []
    size = 0
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            size += len(line)
            if line.strip():
                lines.append(line.rstrip("\n"))
            elif lines:
                yield "\n".join(lines)
                lines = []
                if size > megabytes * 1e6:
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    texts = [d for f in sorted(args.corpus.glob("*.txt.xz")) for d in documents(f, MEGABYTES_PER_FILE)]
    random.shuffle(texts)
    tokenizer = train_tokenizer(texts[:8000], args.vocab)
    ids: list[int] = []
    for start in range(0, len(texts), 1000):
        for piece in tokenizer(texts[start : start + 1000], add_special_tokens=False)["input_ids"]:
            ids += [*piece, tokenizer.eos_token_id]
    rows = torch.tensor(ids[: len(ids) // args.length * args.length], dtype=torch.int32).view(-1, args.length)
    rows = rows[torch.randperm(len(rows))]
    held_out, rows = rows[:64], rows[64:]
    config = LlamaConfig(
        vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.hidden * 11 // 4 // 32 * 32,
        num_hidden_layers=args.layers, num_attention_heads=args.hidden // 64, num_key_value_heads=args.hidden // 64,
        max_position_embeddings=1024, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    begin, step, seconds = time.time(), 0, args.minutes * 60
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {rows.numel():,} tokens", flush=True)
    while (elapsed := time.time() - begin) < seconds:
        share = elapsed / seconds  # the schedule follows the clock, so that a slow machine also ends at a low rate
        rate = args.lr * min(1.0, share / 0.02) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = rows[(step * args.batch) % (len(rows) - args.batch) :][: args.batch].long()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f} tokens {step * args.batch * args.length:,} {elapsed:.0f} s",
                  flush=True)  # fmt: skip
    with torch.no_grad():
        held = float(model(input_ids=held_out.long(), labels=held_out.long(), use_cache=False).loss)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    report = {"steps": step, "tokens": step * args.batch * args.length, "held_out_loss": held,
              "minutes": args.minutes, "args": {k: str(v) for k, v in vars(args).items()}}  # fmt: skip
    (args.out / "pretraining.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
