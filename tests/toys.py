"""Toys that tests share: tiny tokenizers of three kinds, tiny model folders, labeled sentences. No network, no files.

Everything is a deterministic function of its arguments. Tokenizers are trained in-process on `CORPUS` in some
milliseconds; models are random and have a few thousand weights.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

Bos = Literal[False, True, "template", "flag"]
"""No BOS; BOS by the backend's template (True means this); BOS by `add_bos_token=True` of the wrapper."""

CORPUS: tuple[str, ...] = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Angela Merkel visited Zagreb in May 2019; she met the president there.",
    "Jordan said that Jordan borders Syria and that shares of Jordan fell by 3.5% on Monday.",
    '"I don\'t know", he said (twice), "it\'s not in London or Paris."',
    "Dr. Austin Baker smiled while Florence lies on the Arno and Florence Nightingale wrote letters.",
    "Lincoln Capital announced record profits of $12 million; Lincoln was happy.",
    "Washington signed the treaty. Washington lies on the Potomac. Washington shares rose.",
    "U.S. stocks rose 2 % after e-mail reports, e.g. from Reuters and AT&T.",
    "naïve café München Čakovec Łódź привет мир 東京 都 नमस्ते 😀 — “quoted” …",
    "Patients receiving cisplatin developed nephrotoxicity within 48 hours.",
    "book me a table for four people at seven pm tomorrow night please",
)


def _backend_corpus() -> list[str]:
    return [*CORPUS, *(" ".join(words) for words, _ in toy_dataset(60, seed=7))]


def _wrap(backend: Tokenizer, *, bos: Bos, bos_token: str, pad: bool, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    options: dict[str, Any] = dict(special)
    if pad:
        options["pad_token"] = "<pad>"
    if bos == "flag":
        options["add_bos_token"] = True
    elif bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos_token} $A",
            pair=f"{bos_token} $A {bos_token} $B",
            special_tokens=[(bos_token, backend.token_to_id(bos_token))],
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos_token, **options)


def byte_bpe_tokenizer(*, prefix_space: bool = False, bos: Bos = False, pad: bool = True, vocab: int = 600) -> Any:
    """Return a byte-level BPE tokenizer (GPT-2, Qwen, Llama 3 kind): EOS `<eos>`, no unknown token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<bos>", "<eos>", *(["<pad>"] if pad else [])],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_backend_corpus(), trainer)
    return _wrap(backend, bos=bos, bos_token="<bos>", pad=pad, eos_token="<eos>")


def metaspace_tokenizer(
    *,
    kind: Literal["bpe", "unigram", "legacy", "xlmr"] = "bpe",
    prefix_space: bool = True,
    bos: Bos = "template",
    pad: bool = True,
    vocab: int = 500,
) -> Any:
    """Return a SentencePiece-style tokenizer, where a space is `▁`.

    `bpe` and `unigram`: Metaspace. `legacy`: the Llama 2 files, normalizer Prepend + Replace and no pre-tokenizer, with
    byte fallback (always a prefix space). `xlmr`: Unigram after WhitespaceSplit, where Metaspace itself puts the `▁`
    of every word (always a prefix space).
    """
    special = ["<unk>", "<s>", "</s>", *(["<pad>"] if pad else [])]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    scheme = "always" if prefix_space or kind == "xlmr" else "never"
    trainer: Any
    if kind in ("unigram", "xlmr"):
        backend = Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=kind == "legacy"))
        symbols = [*special, *(bytes_ if kind == "legacy" else [])]
        trainer = trainers.BpeTrainer(vocab_size=vocab + len(symbols), special_tokens=symbols, show_progress=False)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    if kind == "xlmr":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), backend.pre_tokenizer])
    backend.train_from_iterator(_backend_corpus(), trainer)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    if kind == "legacy":
        # Trained word by word above, used on whole sentences here: as the converted Llama 2 files do.
        backend = _without_added(backend, special)
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = None
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    return _wrap(backend, bos=bos, bos_token="<s>", pad=pad, eos_token="</s>", unk_token="<unk>")


def _without_added(backend: Tokenizer, special: Sequence[str]) -> Tokenizer:
    """The same model with only `special` as added tokens (training made the byte symbols special, too)."""
    fresh = Tokenizer(backend.model)
    fresh.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return fresh


def wordpiece_tokenizer(*, pad: bool = True, vocab: int = 500) -> Any:
    """Return a BERT tokenizer: lower-casing WordPiece with a `[CLS] ... [SEP]` template."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = [*(["[PAD]"] if pad else []), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab, special_tokens=special, show_progress=False)
    backend.train_from_iterator(_backend_corpus(), trainer)
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **({"pad_token": "[PAD]"} if pad else {}), **names)


def llama_folder(
    path: Path,
    *,
    layers: int = 4,
    hidden: int = 32,
    seed: int = 0,
    head: bool = False,
    positions: int = 512,
    tokenizer: Any = None,
    **options: Any,
) -> Path:
    """Save a tiny random Llama with its tokenizer as a Hugging Face folder (safetensors) and return its path.

    `head`: save a LlamaForCausalLM in place of the bare LlamaModel. `options` go to `byte_bpe_tokenizer`, unless a
    tokenizer is given.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

    tokenizer = byte_bpe_tokenizer(**options) if tokenizer is None else tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (LlamaForCausalLM if head else LlamaModel)(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def encoder_folder(path: Path, *, layers: int = 2, hidden: int = 32, seed: int = 0) -> Path:
    """Save a tiny random BertModel with its tokenizer as a Hugging Face folder and return its path."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = wordpiece_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


_NAMES = ("Jordan", "Florence", "Austin", "Washington", "Lincoln", "Chelsea", "Paris", "Madison", "Houston", "Sydney")
_SURNAMES = ("Baker", "Nightingale", "Merkel", "Hilton", "Novak", "Smith")
# What follows an ambiguous name decides its type: only a model that sees to the right can know it at the name.
_AFTER: dict[str, tuple[str, ...]] = {
    "PER": ("said that it rains", "smiled at us", "wrote two letters", "was born in 1970", "signed the treaty"),
    "LOC": ("lies on the river", "borders the sea", "has many streets", "was flooded on Monday", "attracts tourists"),
    "ORG": ("announced record profits", "shares fell by 3.5 %", "hired 200 people", "Inc. was sold", "opened a branch"),
}
_BEFORE: dict[str, str] = {"PER": "yesterday Mr.", "LOC": "they live in", "ORG": "she works for"}
_PLAIN = ("the weather is fine today", "nobody knows why", "it rains again", "prices rose by 2 % on Monday")


def toy_dataset(n: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Return `n` labeled sentences (words, IOB2 tags) with types PER, LOC and ORG, deterministic in `seed`.

    Half of the entities stand first in their sentence and get their type only from the words after them, so that a
    causal model must guess there; the others are told by the words before them. A tenth has no entity.
    """
    draw = random.Random(seed)
    return [_toy_sentence(draw) for _ in range(n)]


def _toy_sentence(draw: random.Random) -> tuple[list[str], list[str]]:
    if draw.random() < 0.1:
        words = draw.choice(_PLAIN).split()
        return [*words, "."], ["O"] * (len(words) + 1)
    kind = draw.choice(sorted(_AFTER))
    entity = [draw.choice(_NAMES)]
    if kind == "PER" and draw.random() < 0.4:
        entity.append(draw.choice(_SURNAMES))
    tags = ["B-" + kind, *["I-" + kind] * (len(entity) - 1)]
    if draw.random() < 0.5:
        before, after = [], draw.choice(_AFTER[kind]).split()
    else:
        before, after = _BEFORE[kind].split(), draw.choice(("now", "and waits", "since 2019")).split()
    words = [*before, *entity, *after, "."]
    return words, [*["O"] * len(before), *tags, *["O"] * (len(after) + 1)]


_OPINIONS = {"good": ("fine", "lovely", "great"), "bad": ("awful", "poor", "sad")}


def toy_texts(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return `n` texts with the label good or bad, which one of their words tells, deterministic in `seed`."""
    draw = random.Random(seed)
    found = []
    for _ in range(n):
        label = draw.choice(sorted(_OPINIONS))
        words = [draw.choice(_NAMES), "thought the film was", draw.choice(_OPINIONS[label]), "and left", "early"]
        found.append((" ".join(words[: draw.randint(3, 5)]) + ".", label))
    return found


def write_conll(path: Path, sentences: Sequence[tuple[Sequence[str], Sequence[str]]], separator: str = "\t") -> Path:
    """Write (words, tags) as two columns with a blank line after each sentence; return the path."""
    blocks = (
        "".join(f"{word}{separator}{tag}\n" for word, tag in zip(words, tags, strict=True)) for words, tags in sentences
    )
    path.write_text("\n".join(blocks) + "\n", encoding="utf-8")
    return path
