"""Whole runs: they learn, go on after a kill as if nothing had been, and refuse what cannot be."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pretraining_support import recipe, run, write_corpus
from safetensors.torch import load_file
from transformers import AutoTokenizer

import toys
from lookright.attention import current_plan
from lookright.errors import DataError, OutputError, PlanError, RecipeError
from lookright.models.base import load_base
from lookright.training.pretraining import pretrain as pretrain_module
from lookright.training.pretraining.loop import LanguageModelTrainer
from lookright.training.pretraining.pretrain import prepare
from lookright.training.pretraining.recipe import GROUPS, PretrainFacts, PretrainRecipe

sys.path.append(str(Path(__file__).parents[1] / "training"))
from training_support import in_child

CPU = torch.device("cpu")


def contents(out: Path) -> dict[str, bytes]:
    """Everything in a finished run's folder that is a function of the recipe and the text."""
    files = [p for p in out.rglob("*") if p.is_file() and p.name not in ("run.json", "loss.png")]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", ["clm", "mlm", "mntp"])
def test_it_learns(corpus: Path, tmp_path: Path, objective: str) -> None:
    result = run(
        corpus, tmp_path / "out", objective=objective, updates=30, learning_rate=1e-2, checkpoints=2,
        hidden=32, batch_tokens=1024, token_budget=1024, mask_rate=None if objective == "clm" else 0.3,
    )  # fmt: skip
    first = log_of(tmp_path / "out")[0]["loss"]
    assert first == pytest.approx(math.log(400), abs=0.4)
    assert result.loss is not None
    assert result.held_out_loss is not None
    assert result.held_out_loss < first - {"clm": 2.5, "mlm": 1.0, "mntp": 1.0}[objective]
    assert 0 < (result.arithmetic or 0) < 1
    account = json.loads((tmp_path / "out" / "run.json").read_text())
    assert account["result"]["held_out_loss"] == result.held_out_loss
    assert account["outcome"]["n_updates"] == 30


@pytest.mark.parametrize(("update", "optimizer"), [(1, "adamw"), (4, "adamw"), (4, "muon")])
def test_killed_and_resumed_is_uninterrupted(corpus: Path, tmp_path: Path, update: int, optimizer: str) -> None:
    options = {"objective": "mlm", "updates": 6, "optimizer": optimizer}
    run(corpus, tmp_path / "whole", **options)

    def work() -> None:
        step = LanguageModelTrainer.training_step

        def dying(self: Any, *rest: Any) -> Any:
            if self.state.global_step == update:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, *rest)

        LanguageModelTrainer.training_step = dying  # type: ignore[method-assign]
        run(corpus, tmp_path / "cut", **options)

    assert in_child(work) == -signal.SIGKILL
    run(corpus, tmp_path / "cut", resume=True, **options)
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert [name for name in whole if whole[name] != cut[name] and name != "recipe.toml"] == []
    run(corpus, tmp_path / "cut", resume=True, **options)  # nothing is left to train: the same base again
    assert contents(tmp_path / "cut") == cut


def test_adapters_train_themselves_and_a_new_mask_and_are_merged(tmp_path: Path, corpus: Path) -> None:
    folder = toys.llama_folder(tmp_path / "base", head=True)
    options = {"base": str(folder), "objective": "mntp", "plan": "0011", "lora_r": 4, "mask_token": "[M]"}
    run(corpus, tmp_path / "out", learning_rate=1e-2, **options)
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    rows = len(before["model.embed_tokens.weight"])
    assert torch.equal(after["model.embed_tokens.weight"][:rows], before["model.embed_tokens.weight"])
    changed = {name for name in before if name != "model.embed_tokens.weight" and "lm_head" not in name
               and not torch.equal(before[name], after[name])}  # fmt: skip
    assert changed
    assert all("proj" in name for name in changed)
    state = load_file(next((tmp_path / "out" / "checkpoints").iterdir()) / "model.safetensors")
    row = state["model.embed_tokens.weight"][rows]
    assert torch.equal(after["model.embed_tokens.weight"][rows], row)
    base = load_base(tmp_path / "out")
    assert str(base.plan) == "01"
    assert base.tokenizer.mask_token == "[M]"


def test_bfloat16_weights_and_computation(corpus: Path, tmp_path: Path) -> None:
    folder = run(corpus, tmp_path / "out", updates=1, save_dtype="bfloat16", precision="bfloat16").folder
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert load_base(folder, dtype="auto", plan="causal").backbone.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("objective", "plan", "words"),
    [
        ("clm", "0011", "a sub-word would see the next one"), ("clm", "0,0,1,0", "a sub-word would see"),
        ("clm", "1", "a sub-word would see"), ("mlm", "0011", "every layer is open"),
    ],
)  # fmt: skip
def test_plans_that_show_the_answer_are_refused_at_once(
    objective: str, plan: str, words: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=words):
        run(corpus, tmp_path / "out", objective=objective, plan=plan, cache=str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_does_not_divide_the_layers_is_refused_at_once(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="8 groups"):
        run(corpus, tmp_path / "out", objective="mntp", plan="00110101", layers=6, cache=str(tmp_path / "cache"))
    assert list(tmp_path.iterdir()) == []


def test_which_plan_is_taken(corpus: Path, clm_base: Path, mntp_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    def plan(**options: Any) -> str:
        found = prepare(recipe(corpus, None, **options), CPU)
        assert current_plan(found.found.model) == found.plan
        return str(found.plan)

    assert plan() == "0"
    assert plan(objective="mlm") == "1"
    assert plan(objective="mntp") == "01"
    assert plan(objective="mntp", base=str(mntp_base)) == "0,2,0,*"
    with caplog.at_level("INFO", "lookright"):
        assert plan(objective="clm", base=str(mntp_base)) == "0"
    assert "the base carries the plan 0,2,0,*; it is trained under 0 now" in caplog.text
    assert plan(objective="mntp", base=str(clm_base), plan="0,1,0,*") == "0,1,0,*"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": 30, "heads": 4}, "hidden is 30, which 4 heads do not divide"),
        ({"hidden": 20, "heads": 4}, "an even number"),
        ({"heads": 4, "kv_heads": 3}, "which 3 heads of keys and values"),
        ({"base": "b", "layers": 4}, "the base b has its own"),
        ({"method": "lora"}, "adapters are for a base"),
        ({"mask_rate": 0.2}, "clm masks nothing"),
        ({"mask_rate": 0.2, "base": "b"}, "clm masks nothing"),
        ({"revision": "main"}, "no base is given that it could be of"),
        ({"hidden": 36, "heads": 4}, "take hidden=32"),
        ({"objective": "nsp"}, "expected one of clm, mlm, mntp"),
        ({"tokenizer": "t", "vocab_size": 500}, "drop one of the two"),
        ({"text": ()}, "expected paths"),
    ],
)
def test_recipes_that_cannot_work(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        PretrainRecipe(**options)


def test_the_recipe_is_keywords_flags_and_toml(tmp_path: Path) -> None:
    options = PretrainRecipe.options()
    assert {o.group for o in options.values()} == set(GROUPS)
    made = PretrainRecipe(text=("a.txt", "b.xz"), objective="mlm", tied=False, updates=7)
    path = tmp_path / "r.toml"
    path.write_text(made.to_toml())
    assert PretrainRecipe.from_toml(path) == made
    for facts in (PretrainFacts(10**6, True), PretrainFacts(10**9, False, 2048, "cuda", True)):
        base = {} if facts.fresh else {"base": "b"}
        full = PretrainRecipe(**base).resolved(facts)
        assert full.resolved(facts) == full
        assert (full.method, full.precision) == (("full", "float32") if facts.fresh else ("lora", "bfloat16"))
    reference = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")
    assert PretrainRecipe.table() in reference, "docs/pretraining.md is out of step: paste PretrainRecipe.table()"


def test_another_recipe_or_text_is_refused_and_nothing_lost(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(corpus, out, updates=2, checkpoints=1)
    before = contents(out)
    for options, words in (
        ({"updates": 3}, "another recipe: updates was 2 and is 3 now"),
        ({"seed": 1}, "another recipe: seed was 0"),
        ({"method": "lora", "base": "b"}, "another recipe: base was None and is 'b' now"),
    ):
        with pytest.raises(RecipeError, match=words):
            run(corpus, out, **{"updates": 2, "checkpoints": 1, "resume": True, **options})
    other = write_corpus(tmp_path / "other.txt", 90, seed=5)
    with pytest.raises(RecipeError, match="the training data changed since"):
        run(other, out, updates=2, checkpoints=1, resume=True)
    with pytest.raises(OutputError, match="holds an earlier run"):
        run(corpus, out, updates=2)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no text in"), (b"\n\n \n", "no text in"), (b"One line.\n", "only [0-9]+ sub-words to train on"),
        (b"fine\n\n\xff", "not UTF-8"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_trained_on(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(text)
    with pytest.raises(DataError, match=words) as caught:
        run(tmp_path / "bad.txt", tmp_path / "out", held_out=0.0)
    assert "bad.txt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_text_without_blank_lines_is_one_document(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lines.txt").write_text(corpus.read_text().replace("\n\n", "\n"))
    with caplog.at_level("INFO", "lookright"):
        prepare(recipe(tmp_path / "lines.txt", None), CPU)
    assert "none of 1 document (a blank line ends one) fell into the share of 0.15" in caplog.text


def test_a_tracker_that_is_not_there_is_said_at_once(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="report_to is 'foo', which is no tracker that is installed"):
        run(corpus, tmp_path / "out", report_to="foo")
    assert not (tmp_path / "out").exists()


def test_a_loop_that_cannot_be_made_leaves_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModelTrainer, "__init__", None)
    with pytest.raises(TypeError):
        run(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_in_which_nothing_can_be_predicted(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("a\n\n" * 3000)
    with pytest.raises(DataError, match=r"letters.txt: nothing can be predicted in the first 1,000 sequences"):
        run(tmp_path / "letters.txt", tmp_path / "out", held_out=0.0, objective="mntp")


def test_a_full_disk_keeps_the_last_checkpoint(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "save_base", full)
        with pytest.raises(OSError, match="No space"):
            run(corpus, tmp_path / "out", updates=2)
    result = run(corpus, tmp_path / "out", updates=2, resume=True)
    assert result.tokens_per_second is None  # nothing was trained again
    account = json.loads((tmp_path / "out" / "run.json").read_text())
    account["result"] |= {"tokens_per_second": 5.0, "arithmetic": 0.9, "seconds": 7.0}
    (tmp_path / "out" / "run.json").write_text(json.dumps(account))
    run(corpus, tmp_path / "out", updates=2, resume=True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["result"] == account["result"]
    load_base(result.folder)


def test_without_matplotlib_the_losses_stay(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level("INFO", "lookright"):
        run(corpus, tmp_path / "out", updates=1, checkpoints=1)
    assert "lookright[plots]" in caplog.text
    assert not (tmp_path / "out" / "loss.png").exists()
    assert [sorted(entry)[0] for entry in log_of(tmp_path / "out")] == ["epoch", "dev_loss"]


def test_an_update_is_the_same_in_any_micro_batches_and_recomputed(corpus: Path, tmp_path: Path) -> None:
    weights = []
    ways: list[dict[str, Any]] = [
        {"token_budget": 10_000}, {"token_budget": 40}, {"token_budget": 10_000, "gradient_checkpointing": True},
    ]  # fmt: skip
    for number, way in enumerate(ways):
        run(corpus, tmp_path / str(number), updates=2, checkpoints=1, optimizer="adamw", learning_rate=2e-3, **way)
        weights.append(load_file(tmp_path / str(number) / "model.safetensors"))
    for name, tensor in weights[0].items():
        for other in weights[1:]:
            torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=2e-5, msg=name)


def test_a_tokenizer_with_more_entries_than_the_embeddings(corpus: Path, clm_base: Path, tmp_path: Path) -> None:
    """Random sub-words come from those that the model knows."""
    folder = shutil.copytree(clm_base, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<a new pad token>"})
    tokenizer.save_pretrained(folder)
    ready = prepare(recipe(corpus, tmp_path / "out", base=str(folder), objective="mntp", mask_rate=0.5), CPU)
    assert len(ready.found.tokenizer) > ready.found.model.get_input_embeddings().num_embeddings
    assert ready.train.objective.vocab == ready.found.model.get_input_embeddings().num_embeddings
