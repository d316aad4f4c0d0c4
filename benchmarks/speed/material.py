"""The one model, tokenizer and set of sentences that all systems load.

    FOLDER/model/       a Llama for token classification, random weights: config.json, model.safetensors, tokenizer
    FOLDER/model/head.safetensors       its head alone
    FOLDER/*.jsonl      sentences: `tokens`, `tags`, `n_subwords`

Its files are of the kind that transformers 4 and 5 both read. The tokenizer puts a space before each word, so that
words, and the text that they make, have the same sub-words in every system.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.speed.sentences import LABELS, Row, generate, read, write

TOKENIZER_SENTENCES: Final = 2_500
VOCABULARY: Final = 16_000
MOST_POSITIONS: Final = 4_096
OUTSIDE_SHARE: Final = 0.83
"""Share of words that the random head calls O, by its bias, as in news text."""


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped model."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int = VOCABULARY
    key_heads: int | None = None


SHAPES: Final = {
    "20m": Shape(384, 8, 6, 1024),
    "tiny": Shape(64, 2, 2, 128),
    # RoBERTa-base cut to four layers, as in the paper's study of small models.
    "68m": Shape(768, 4, 12, 3072, vocabulary=50_265),
    "llama-2-7b": Shape(4096, 32, 32, 11_008, vocabulary=32_000),
    "mistral-7b": Shape(4096, 32, 32, 14_336, vocabulary=32_000, key_heads=8),
}


def tokenizer_of(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer that puts a space before each word, without special tokens around a sentence."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def build_model(folder: Path, shape: Shape, tokenizer: Any, *, dtype: str = "float32", device: str = "cpu") -> Path:
    """Write the model and its tokenizer; what is there with the same shape and type is kept."""
    stamp = folder / "shape.json"
    wanted = {**asdict(shape), "dtype": dtype}
    if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == wanted:
        return folder
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForTokenClassification

    folder.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads or shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=MOST_POSITIONS,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = LlamaForTokenClassification(config)
    finally:
        torch.set_default_dtype(before)
    _set_bias(model.eval(), tokenizer)
    model.save_pretrained(folder)
    head = {f"score.{name}": p.detach().float().cpu().contiguous() for name, p in model.score.named_parameters()}
    save_file(head, folder / "head.safetensors")
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    saved |= {"rope_theta": 10_000.0, "torch_dtype": dtype}  # the names of transformers 4
    (folder / "config.json").write_text(json.dumps(saved, indent=2), encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "padding_side": "right",
        "model_max_length": MOST_POSITIONS,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    stamp.write_text(json.dumps(wanted), encoding="utf-8")
    del model
    if device == "cuda":
        torch.cuda.empty_cache()  # the systems are other processes, and want the memory
    return folder


def _set_bias(model: Any, tokenizer: Any) -> None:
    """Give the head a bias by which most words are outside of spans, as they are in text."""
    import torch

    margins = []
    with torch.no_grad():
        for row in generate(64, seed=99):
            ids = torch.tensor([tokenizer.encode(" ".join(row["tokens"])).ids], device=model.device)
            logits = model(input_ids=ids).logits[0].float()
            margins.append(logits[:, 1:].amax(-1) - logits[:, 0])
        model.score.bias.zero_()
        model.score.bias[0] = torch.cat(margins).quantile(OUTSIDE_SHARE)


@dataclass(frozen=True)
class Material:
    """What a run measures with.

    Attributes:
        folder: where it is.
        tokenizer: the shared one, of the tokenizers library.
        source: a labeled file that sentences are taken from; None for invented ones.
        seed: of invented sentences.
    """

    folder: Path
    tokenizer: Any
    source: Path | None
    seed: int

    @classmethod
    def make(cls, folder: Path, source: Path | None, seed: int) -> Material:
        """Train the tokenizer: on sentences of the same kind, but other ones where they are invented."""
        folder.mkdir(parents=True, exist_ok=True)
        rows: Iterable[Row] = generate(TOKENIZER_SENTENCES, seed + 1) if source is None else read(source, None)
        tokenizer = tokenizer_of(" ".join(row["tokens"]) for row in rows)
        return cls(folder, tokenizer, source, seed)

    def model(self, shape: str, *, dtype: str = "float32", device: str = "cpu") -> Path:
        """The folder of a model of a shape."""
        home = self.folder / f"model-{shape}-{dtype}"
        tokens = self.tokenizer.to_str()
        known = home / "tokenizer.json"
        if known.exists() and json.loads(known.read_text(encoding="utf-8")) != json.loads(tokens):
            (home / "shape.json").unlink(missing_ok=True)  # of other sentences
        return build_model(home, SHAPES[shape], self.tokenizer, dtype=dtype, device=device)

    def sentences(self, n: int, name: str, *, words: int | None = None) -> tuple[Path, list[Row]]:
        """So many sentences as a file, and as rows.

        Args:
            n: how many; a file that has fewer is taken from its beginning again.
            name: of the file.
            words: the length of every sentence; these are always invented ones.
        """
        if self.source is None or words is not None:
            rows = list(generate(n, self.seed, words=words))
        else:
            found = read(self.source, n)
            rows = [dict(found[index % len(found)]) for index in range(n)]
        for row, encoded in zip(rows, self._encoded(rows), strict=True):
            row["n_subwords"] = len(encoded.ids)
        return write(rows, self.folder / f"{name}.jsonl"), rows

    def _encoded(self, rows: Sequence[Row]) -> list[Any]:
        found: list[Any] = self.tokenizer.encode_batch([" ".join(row["tokens"]) for row in rows])
        return found


def account(rows: Sequence[Row]) -> str:
    """A sentence about sentences."""
    words, subwords = sum(len(row["tokens"]) for row in rows), sum(row["n_subwords"] for row in rows)
    longest = max(row["n_subwords"] for row in rows)
    return (
        f"{len(rows):,} sentences, {words:,} words ({words / len(rows):.1f} a sentence), {subwords:,} sub-words "
        f"({subwords / words:.2f} a word), the longest of {longest}"
    )
