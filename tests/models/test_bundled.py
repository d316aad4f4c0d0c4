"""The base that comes with the package: what it is, that it is whole, and that it has learned something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from lookright import Tagger, read_conll
from lookright.attention import current_plan
from lookright.data.samples import sample
from lookright.models.base import resolve_folder
from lookright.models.bundled import BUNDLED, bundled_folder

FOLDER = bundled_folder()


def test_it_is_small_safe_and_says_where_it_comes_from() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 25_000_000
    assert {file.suffix for file in FOLDER.iterdir()} == {".json", ".md", ".safetensors"}
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"] % 4) == ("llama", 0)
    with safe_open(FOLDER / "model.safetensors", "pt") as tensors:
        assert {str(tensors.get_tensor(name).dtype) for name in tensors.keys()} == {"torch.bfloat16"}  # noqa: SIM118
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for fact in (
        "license: cc-by-sa-4.0",
        "CC BY-SA 3.0",
        "held-out loss",
        "Wikinews",
        "MedQuAD",
        "bases/lookright-nano",
    ):
        assert fact in card


def test_stock_transformers_reads_it_whole_and_it_knows_english() -> None:
    model, info = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer.mask_token_id is not None
    text = "The city is the capital of the country and has a population of about two million people."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    shuffled = ids[:, torch.randperm(ids.shape[1], generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        loss, other = (float(model(x, labels=x).loss) for x in (ids, shuffled))
    assert loss < 5.5 < 7 < other  # log(16000) is 9.7


def test_its_name_means_it_whatever_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_folder(BUNDLED) == FOLDER
    (tmp_path / BUNDLED).mkdir()
    with caplog.at_level("INFO", "lookright"):
        assert resolve_folder(BUNDLED) == FOLDER
    assert "what lies in the current folder is ./lookright-nano" in caplog.text
    assert resolve_folder(f"./{BUNDLED}") == Path(BUNDLED)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_tagger_on_it_is_trained_saved_and_found_again(method: str, tmp_path: Path) -> None:
    train = read_conll(sample("wnut17")["train"])[:20]
    tagger = Tagger.from_pretrained(BUNDLED, plan="0011")
    tagger.fit(train, epochs=1, method=method, progress=False)
    tagger.save_pretrained(tmp_path / "tagger")
    again = Tagger.from_pretrained(tmp_path / "tagger")
    assert str(current_plan(again.model.backbone)) == "01"
    found, expected = ([tagging.tags for tagging in one.tag(train)] for one in (again, tagger))
    assert found == expected
