"""BiLLM as its example for named entities uses it: its Llama classes under the Trainer of the transformers it needs.

As in the example: sentences are padded to the longest of a thousand and cut at 64 sub-words before training
(`padding` "example"; "batch" pads each batch to its longest, which the example does not do), labels on first sub-words.
Other than in the example: all weights are trained, in float32, as by every system here; no evaluation.

The first open layer is an environment variable that BiLLM reads when it is imported.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import child

CHUNK = 1000
"""`datasets.map(batched=True)` gives so many sentences to a call, and they are padded together."""
CUT = 64


def padded(tokenizer: Any, case: dict[str, Any], ids: dict[str, int]) -> list[dict[str, Any]]:
    sentences = child.read_sentences(case)
    rows = [
        child.aligned(tokenizer, row["tokens"], [ids[tag] for tag in row["tags"]], max_length=CUT) for row in sentences
    ]
    if case["padding"] == "batch":
        return [dict(row) for row in rows]
    out = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        longest = max(len(row["input_ids"]) for row in chunk)
        for row in chunk:
            missing = longest - len(row["input_ids"])
            out.append(
                {
                    "input_ids": row["input_ids"] + [tokenizer.pad_token_id] * missing,
                    "attention_mask": row["attention_mask"] + [0] * missing,
                    "labels": row["labels"] + [-100] * missing,
                }
            )
    return out


def prepare(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    os.environ["BiLLM_START_INDEX"] = str(case["first_open"])  # noqa: SIM112 - its own name
    import transformers
    from billm import LlamaForTokenClassification
    from transformers import (
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    labels = child.labels_of(case)
    model = LlamaForTokenClassification.from_pretrained(case["model"], num_labels=len(labels))
    facts = {"transformers": transformers.__version__, "weights": child.weights_sum(model)}
    rows = padded(tokenizer, case, {label: index for index, label in enumerate(labels)})
    batches = child.watch_batches(model, tokenizer.pad_token_id)
    collator = DataCollatorForTokenClassification(tokenizer)

    def trainer(folder: str, clock: Any, data: Any) -> Any:
        args = TrainingArguments(
            output_dir=folder,
            learning_rate=1e-4,
            per_device_train_batch_size=case["batch_size"],
            per_device_eval_batch_size=case["batch_size"],
            num_train_epochs=1,
            weight_decay=0.01,
            use_cpu=case["device"] == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        return Trainer(model, args, train_dataset=data, data_collator=collator, callbacks=[clock])

    def train(sentences: int | None = None) -> dict[str, Any]:
        clock = child.training_clock(TrainerCallback)
        clock.on_epoch = batches.clear
        with tempfile.TemporaryDirectory() as folder:
            trainer(folder, clock, rows[:sentences]).train()
        return child.clocked(clock, batches)

    def predict(sentences: int | None = None) -> dict[str, Any]:
        """`Trainer.predict` and the best label of each word: BiLLM has no way from text to spans."""
        batches.clear()
        with tempfile.TemporaryDirectory() as folder, child.timed() as timer:
            fresh = padded(tokenizer, case, {label: index for index, label in enumerate(labels)})[:sentences]
            logits, gold, _ = trainer(folder, child.training_clock(TrainerCallback), None).predict(fresh)
            best = logits.argmax(-1)
            [
                [labels[p] for p, g in zip(row, truth, strict=True) if g != -100]
                for row, truth in zip(best, gold, strict=True)
            ]
        return child.result(timer.seconds, timer.cpu_seconds, batches)

    once = train if case["activity"] == "train" else predict
    once(sentences=4 * case["batch_size"])
    return once, facts


if __name__ == "__main__":
    child.serve(prepare)
