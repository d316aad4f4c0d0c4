"""Text as documents, packed or not, and as tokens that are made once."""

from __future__ import annotations

import gzip
import importlib
import lzma
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pretraining_support import toy_documents, write_corpus
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import toys
from lookright.errors import DataError, MissingExtraError, OutputError
from lookright.models.language_model import new_language_model
from lookright.training.pretraining import corpus as corpus_module
from lookright.training.pretraining import tokens as tokens_module
from lookright.training.pretraining.corpus import documents, is_held_out, sample, text_files
from lookright.training.pretraining.tokens import tokenise

TEXT = "\ufeffOne.\nTwo — ž.\r\n\n \n\nThree.\n\n\n"
DOCUMENTS = ["One.\nTwo — ž.", "Three."]


@pytest.mark.parametrize("ending", ["", ".xz", ".gz"])
def test_documents_are_what_stands_between_blank_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    opened = {"": open, ".xz": lzma.open, ".gz": gzip.open}[ending]
    with opened(path, "wb") as file:  # type: ignore[operator]
        file.write(TEXT.encode())
    assert list(documents(path)) == DOCUMENTS


def test_zst_is_read(tmp_path: Path) -> None:
    module = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    path = tmp_path / "a.txt.zst"
    packed = module.compress(TEXT.encode())
    path.write_bytes(packed)
    assert list(documents(path)) == DOCUMENTS
    for damaged in (packed[:-5], b"no zstandard at all"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a.txt.zst: the packed file is damaged or cut short"):
            list(documents(path))


def test_the_package_for_zst_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.txt.zst").touch()
    with pytest.raises(MissingExtraError, match=r"a.txt.zst: .*lookright\[zst\]"):
        list(documents(tmp_path / "a.txt.zst"))


def test_bytes_that_are_no_text_are_named_by_file_and_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\n\ncaf" + b"\xe9 noir\n")
    with pytest.raises(DataError, match=r"latin.txt: not UTF-8 text: the byte 0xe9 at byte 9"):
        list(documents(path))


def test_a_packed_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress(TEXT.encode() * 100)[:-20])
    with pytest.raises(DataError, match=r"a.txt.xz: the packed file is damaged"):
        list(documents(path))


def test_folders_mean_their_text_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt.xz", "c.json"):
        (tmp_path / name).touch()
    assert [path.name for path in text_files([tmp_path])] == ["a.txt.xz", "b.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files in this folder"):
        text_files([tmp_path / "empty"])
    with pytest.raises(DataError, match="no such file"):
        text_files([tmp_path / "none.txt"])
    for stream in ("/dev/null", "-"):
        with pytest.raises(DataError, match="a stream, which can be read only once"):
            text_files([stream])


def test_a_sample_takes_from_every_file(tmp_path: Path) -> None:
    files = [write_corpus(tmp_path / f"{seed}.txt", 40, seed) for seed in range(3)]
    taken = list(sample(files, characters=600))
    assert sum(map(len, taken)) < 1500
    firsts = {toy_documents(40, seed)[0] for seed in range(3)}
    assert firsts <= set(taken)


def test_held_out_by_content() -> None:
    found = [is_held_out(f"document {number}", 0.2) for number in range(2000)]
    assert 0.15 < np.mean(found) < 0.25
    assert not any(is_held_out(f"document {number}", 0.0) for number in range(100))
    assert all(is_held_out(f"document {n}", 0.5) for n in range(2000) if found[n])


def test_tokens_are_the_documents_and_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toys.byte_bpe_tokenizer()
    files = [write_corpus(tmp_path / f"{seed}.txt", 30, seed) for seed in range(2)]
    (tmp_path / "1.txt").write_text("a <mask> </s> <eos> in the text\n\n" + (tmp_path / "1.txt").read_text())
    found = tokenise(files, tokenizer, tmp_path / "cache", share=0.3)
    wanted: dict[bool, list[list[int]]] = {False: [], True: []}
    for path in files:
        for document in documents(path):
            plain = tokens_module.plain_backend(tokenizer).encode(document, add_special_tokens=False).ids
            assert tokenizer.eos_token_id not in plain
            wanted[is_held_out(document, 0.3)].append([*plain, tokenizer.eos_token_id])
    for part, held_out in ((found.train, False), (found.held_out, True)):
        pieces = [
            ids[begin:end].tolist()
            for ids, ends in zip(part.ids, part.ends, strict=True)
            for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
        assert sorted(pieces) == sorted(wanted[held_out])
        assert len(part) == sum(map(len, pieces))
    monkeypatch.setattr(tokens_module, "_write", None)  # not called again, whatever the order and the names
    (tmp_path / "other").mkdir()
    moved = [files[1].rename(tmp_path / "other" / "x.txt"), files[0]]
    again = tokenise(moved, tokenizer, tmp_path / "cache", share=0.3)
    assert again.sha256 == found.sha256
    assert [a.tolist() for a in again.train.ids] == [a.tolist() for a in found.train.ids]


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"fine\n\n" * 2000 + b"\xff")
    with pytest.raises(DataError, match="byte 12000"):
        tokenise([path], toys.byte_bpe_tokenizer(), tmp_path / "cache", share=0.1)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_kept_tokens_that_are_damaged_are_named(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "toy.txt", 60)
    tokenizer = toys.byte_bpe_tokenizer()
    tokenise([corpus], tokenizer, tmp_path / "cache", share=0.0)
    (file,) = (tmp_path / "cache").rglob("train.bin")
    for content in (file.read_bytes()[:-2], b""):
        file.write_bytes(content)
        with pytest.raises(OutputError, match=r"the tokens kept there are damaged; delete that folder"):
            tokenise([corpus], tokenizer, tmp_path / "cache", share=0.0)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "toy.txt", 60)
    tokenizer = toys.byte_bpe_tokenizer()
    whole = tokenise([corpus], tokenizer, tmp_path / "cache", share=0.0)
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    left, others = (folder.with_name(f".{folder.name}.{name}") for name in ("left", "others"))
    for place in (left, others):
        shutil.copytree(folder, place)
    for path in (*left.iterdir(), left):
        os.utime(path, (0, 0))
    shutil.rmtree(folder)
    again = tokenise([corpus], tokenizer, tmp_path / "cache", share=0.0)
    assert len(again.train) == len(whole.train)
    assert sorted(folder.parent.iterdir()) == [others, folder]
    for path in (*others.iterdir(), others):
        os.utime(path, (0, 0))
    tokenise([corpus], tokenizer, tmp_path / "cache", share=0.0)  # what is there is found; the remains go all the same
    assert list(folder.parent.iterdir()) == [folder]


def test_copies_are_taken_once_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = write_corpus(tmp_path / "toy.txt", 60)
    copy = Path(shutil.copy(corpus, tmp_path / "copy.txt"))
    once = tokenise([corpus], toys.byte_bpe_tokenizer(), tmp_path / "cache", share=0.0)
    assert "copies" not in caplog.text
    with caplog.at_level("INFO", "lookright"):
        both = tokenise([corpus, copy], toys.byte_bpe_tokenizer(), tmp_path / "cache", share=0.0)
    assert len(both.train) == len(once.train)
    assert "1 of 2 files are copies of others" in caplog.text


def test_text_without_blank_lines_is_read_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "LONGEST_DOCUMENT", 100)
    monkeypatch.setattr(tokens_module, "LONGEST_DOCUMENT", 250)
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"This is line {number:3}.\n" for number in range(54)))
    found = list(documents(path))
    assert "\n".join(found) + "\n" == path.read_text()
    assert {document.count("\n") for document in found} == {5}  # 18 characters each: more than 100 with the sixth
    assert [len(batch) for batch in tokens_module._batches(iter(found))] == [3, 3, 3]


def test_ids_with_gaps(tmp_path: Path) -> None:
    """The highest id decides the number format and the rows of a new model, not the number of entries."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "fine": 1, "far": 70_000}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    (tmp_path / "a.txt").write_text("fine far away\n")
    found = tokenise([tmp_path / "a.txt"], tokenizer, tmp_path / "cache", share=0.0)
    assert found.train.ids[0].tolist() == [1, 70_000, 0]
    new = new_language_model(
        tokenizer, layers=1, hidden=2, heads=1, kv_heads=1, intermediate=2, tied=True, length=8, seed=0
    )
    assert new.model.get_input_embeddings().num_embeddings == 70_001
