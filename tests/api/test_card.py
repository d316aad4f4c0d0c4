"""Model cards: complete, readable by hubs, safe, and with a snippet that runs."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import toys
from api.conftest import make_tagger
from lookright.api.card import Training, model_card
from lookright.api.tagger import Tagger
from lookright.models.settings import TaggerSettings
from lookright.tags import Scheme, label_set


def parts_of(card: str) -> tuple[dict[str, Any], str]:
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL)
    assert match is not None
    return yaml.safe_load(match[1]), match[2]


def test_the_card_of_a_saved_tagger(tiny_llama: Path, tmp_path: Path) -> None:
    tagger = make_tagger(tiny_llama)
    report = tagger.evaluate(toys.write_conll(tmp_path / "test.conll", toys.toy_dataset(20)), name="test")
    folder = tagger.save_pretrained(tmp_path / "my-tagger")
    data, text = parts_of((folder / "README.md").read_text(encoding="utf-8"))
    assert data["library_name"] == "lookright"
    assert data["pipeline_tag"] == "token-classification"
    assert data["license"] == "unknown"
    assert "base_model" not in data  # a local folder is no name on a hub
    [result] = data["model-index"][0]["results"]
    assert result["dataset"] == {"name": "test.conll", "type": "test"}
    assert result["metrics"][0]["value"] == pytest.approx(report.f1, abs=1e-6)
    assert result["metrics"][0]["name"] == "strict span F1, IOB2, micro"
    for expected in (
        "# my-tagger",
        "Types: `LOC`, `ORG`, `PER`. Tagging scheme: IOB2, 7 labels.",
        "Mask plan: `01`",
        report.data_hash[:16],
        "strict span F1, IOB2, micro",
        "bootstrap interval",
        "| PER |",
        "torch ",
        "transformers ",
        "## Licence",
    ):
        assert expected in text
    assert str(tmp_path) not in text


def test_hubs_can_read_the_metadata(tagger_folder: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(tagger_folder / "README.md")
    assert card.data.pipeline_tag == "token-classification"
    assert card.data.to_dict()["library_name"] == "lookright"


def test_the_snippet_runs_where_the_card_lies(tagger_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = parts_of((tagger_folder / "README.md").read_text(encoding="utf-8"))
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippet is not None
    monkeypatch.chdir(tagger_folder)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(snippet[1], {})
    expected = Tagger.from_pretrained(tagger_folder).predict("Angela Merkel visited Zagreb.")
    assert [line.split()[0] for line in out.getvalue().splitlines()] == [span.type for span in expected]


def test_names_cannot_break_the_card() -> None:
    evil = 'x`|"\n---\nlicense: mit\n# <img src=x>'
    settings = TaggerSettings(labels=label_set([evil], Scheme.IOB2))
    training = Training(data={"train": (f"/home/someone/{evil}", "0" * 64)}, recipe={"seed": 1}, notes=(evil,))
    data, text = parts_of(
        model_card(settings, base={"name": f"org/{evil}", "revision": evil}, plan=None, training=training, name=evil)
    )
    assert data["license"] == "unknown"
    assert "/home/someone" not in text
    assert not re.search(r"^(---|license|# <)", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)<img", re.sub(r"`[^`\n]*`", "", text))


def test_a_base_from_a_hub_and_a_run_are_named() -> None:
    settings = TaggerSettings(labels=label_set(["PER"], Scheme.IOB2))
    training = Training(data={"train": ("train.conll", "a" * 64)}, recipe={"seed": 3}, notes=("Chosen on dev.",))
    base = {"name": "Qwen/Qwen3-0.6B-Base", "revision": "abc123", "fingerprint": "f" * 64}
    adapter = {"r": 8, "targets": ["q_proj"]}
    data, text = parts_of(model_card(settings, base=base, plan=None, adapter=adapter, training=training))
    assert data["base_model"] == "Qwen/Qwen3-0.6B-Base"
    assert "`Qwen/Qwen3-0.6B-Base`, revision `abc123`" in text
    assert "adapter" in text
    assert "`train.conll`, hash `aaaaaaaaaaaaaaaa`" in text
    assert "| `seed` | 3 |" in text
    assert "Chosen on dev." in text
    assert "Not evaluated yet." in text
