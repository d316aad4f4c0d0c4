"""The transformers Trainer (as its example for token classification uses it) and the transformers pipeline.

The model sees to the left only, as stock transformers has it. Training pads each batch to its longest sentence, with
an optional grouping by length; the pipeline gets texts and gives spans (`aggregation_strategy="simple"`, the cheapest).
"""

from __future__ import annotations

import tempfile
from typing import Any

import child
import torch
import transformers
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    pipeline,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def about(model: Any) -> dict[str, Any]:
    return {"transformers": transformers.__version__, "weights": child.weights_sum(model)}


def load(case: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(case["model"])
    # No cap of the sentence's length: nothing of it is cut away, which is kinder than the examples are.
    tokenizer.model_max_length = 4096
    model = AutoModelForTokenClassification.from_pretrained(case["model"], dtype=DTYPES[dtype])
    return model.to("cuda" if case["device"] == "cuda" else "cpu"), tokenizer


def prepare_training(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    adapters = case.get("adapters")
    model, tokenizer = load(case, "bfloat16" if adapters else "float32")
    facts = about(model)
    if adapters:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="TOKEN_CLS", **adapters))
    ids = {label: index for index, label in enumerate(child.labels_of(case))}
    rows = [
        dict(child.aligned(tokenizer, row["tokens"], [ids[tag] for tag in row["tags"]]))
        for row in child.read_sentences(case)
    ]
    collator = DataCollatorForTokenClassification(tokenizer)
    batches = child.watch_batches(model, tokenizer.pad_token_id)
    group = {"train_sampling_strategy": "group_by_length"} if case.get("group_by_length") else {}

    def once(sentences: int | None = None) -> dict[str, Any]:
        clock = child.training_clock(TrainerCallback)
        clock.on_epoch = batches.clear
        with tempfile.TemporaryDirectory() as folder:
            args = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=case["batch_size"],
                num_train_epochs=1,
                learning_rate=1e-4,
                bf16=case["precision"] == "bfloat16",
                use_cpu=case["device"] == "cpu",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                **group,
            )
            Trainer(model, args, train_dataset=rows[:sentences], data_collator=collator, callbacks=[clock]).train()
        return child.clocked(clock, batches)

    once(sentences=4 * case["batch_size"])
    return once, facts


def prepare_prediction(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    model, tokenizer = load(case, case["precision"])
    facts = about(model)
    texts = [row["text"] for row in child.read_sentences(case)]
    tagger = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    batches = child.watch_batches(model, tokenizer.pad_token_id)

    def once(sentences: int | None = None) -> dict[str, Any]:
        batches.clear()
        with child.timed() as timer:
            found = tagger(texts[:sentences], batch_size=case["batch_size"])
        spans = sum(map(len, found))
        return {**child.result(timer.seconds, timer.cpu_seconds, batches), "spans": spans}

    once(sentences=2 * case["batch_size"])
    return once, facts


def prepare(case: dict[str, Any]) -> tuple[child.Once, dict[str, Any]]:
    return prepare_training(case) if case["activity"] == "train" else prepare_prediction(case)


if __name__ == "__main__":
    child.serve(prepare)
