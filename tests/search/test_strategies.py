"""Strategies: what they try, what they spend, and what comes out."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_support import DEV, TRAIN, TRAINING, search, toy_data

import toys
from lookright import Tagger
from lookright.attention import check_plan, current_plan
from lookright.errors import LookRightError, RecipeError
from lookright.plan import MaskPlan
from lookright.search.prices import Cost
from lookright.search.strategies import Halving, Shared, strategy_of
from lookright.search.trials import Trial


def test_shared_trains_once_for_all_and_stays_within_its_budget(tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = search(tiny_llama, out)
    result, trials = found.result, found.result.trials
    assert [trial.stage for trial in trials] == ["shared", *["dev"] * 16, "final"]
    assert {trial.name for trial in trials[1:17]} == {f"{number:04b}" for number in range(16)}
    assert result.budget == 1.5
    assert 1.2 < result.cost.fine_tunings <= 1.5
    assert sum(trial.cost.fine_tunings for trial in trials) == pytest.approx(result.cost.fine_tunings)
    assert trials[-1].name == result.name == result.verdict.chosen
    assert all(trial.counts is not None and trial.counts.shape[1] == 3 for trial in trials[1:])
    assert found.tagger.plan == result.plan == current_plan(result.model.backbone)
    check_plan(result.model.backbone)
    # the folder
    assert not (out / "runs").exists()
    report = json.loads((out / "report.json").read_text())
    assert (report["plan"], report["dev"]["value"], len(report["trials"])) == (result.name, result.score, 18)
    assert f"# Search for a plan: {result.name}" in (out / "report.md").read_text()
    loaded = Tagger.from_pretrained(out)
    assert loaded.plan == result.plan
    # its figure is the one that the trial has
    assert loaded.evaluate(DEV).f1 == pytest.approx(result.score)
    assert "chosen among 16 by a search (strategy shared" in (out / "README.md").read_text()


def test_the_ladder_trains_each_step_and_the_best_comes_out(tiny_llama: Path, tmp_path: Path) -> None:
    found = search(tiny_llama, tmp_path / "out", strategy="ladder")
    result = found.result
    assert [trial.name for trial in result.trials] == ["0000", "0001", "0011", "0111", "1111"]
    assert {trial.updates for trial in result.trials} == {10}
    assert result.cost.fine_tunings == pytest.approx(5)
    chosen = next(trial for trial in result.trials if trial.name == result.name)
    assert result.score == chosen.score
    assert found.tagger.evaluate(DEV).f1 == pytest.approx(chosen.score)
    assert Tagger.from_pretrained(tmp_path / "out").evaluate(DEV).f1 == pytest.approx(chosen.score)


def test_a_trial_is_the_fine_tuning_that_it_stands_for(tiny_llama: Path) -> None:
    found = search(tiny_llama, strategy="exhaustive", plans=["0000", "0011"], epochs=2.0)
    tagger = Tagger.from_pretrained(tiny_llama, plan=found.result.name, labels=TRAIN.labels(), device="cpu")
    result = tagger.fit(TRAIN, DEV, progress=False, **{**TRAINING, "epochs": 2.0})
    assert result.outcome.best_score == found.result.score


def test_halving_trains_fewer_and_fewer_plans_further(tiny_llama: Path, tmp_path: Path) -> None:
    plans = ["0000", "0011", "1111"]
    result = search(tiny_llama, tmp_path / "out", strategy="halving", plans=plans, epochs=3.0).result
    stages = [trial.stage for trial in result.trials]
    assert stages == [*["round 1"] * 3, *["round 2"] * 2, "final"]
    assert result.budget == 3
    assert result.cost.fine_tunings <= 3
    assert {trial.name for trial in result.trials[3:]} <= set(plans)
    assert result.name in {trial.name for trial in result.trials[3:5]}
    assert result.trials[-1].name == result.name
    assert result.trials[-1].updates > result.trials[-2].updates
    assert Halving().field_sizes(16) == [16, 8, 4, 2]
    assert Halving(eta=3).field_sizes(16) == [16, 6, 2]


def test_halving_trains_more_than_it_scores_however_large_dev_is(tiny_llama: Path) -> None:
    """Else the plans of the first round get an update each, and are sorted by chance."""
    dev = toy_data(300, 3)
    result = search(tiny_llama, dev=dev, strategy="halving", plans=["0000", "0011", "1111"], epochs=2.0).result
    rounds: dict[str, list[Trial]] = {}
    for trial in result.trials:
        rounds.setdefault(trial.stage, []).append(trial)
    assert [len(trials) for trials in rounds.values()] == [3, 2, 1]
    assert result.cost.fine_tunings <= result.budget == 3
    first, last, _ = rounds.values()
    seen = {tuple(trial.sentences) for trial in first if trial.sentences is not None}
    assert len(seen) == 1
    assert 50 <= len(next(iter(seen))) < 300
    assert list(next(iter(seen))) == sorted(set(next(iter(seen))))
    for trial in first:
        assert trial.counts is not None
        assert trial.cost.scored / 3 <= trial.cost.trained
        gold = [sum(tag.startswith("B-") for tag in dev.sentences[n].tags or ()) for n in next(iter(seen))]
        assert trial.counts[:, 0].tolist() == gold, "the counts are of these sentences"
    assert all(trial.sentences is not None and len(trial.sentences) == 300 for trial in last)


def test_halving_says_that_chance_drops_plans(caplog: pytest.LogCaptureFixture) -> None:
    scores = {"0000": 0.2, "0001": 0.1, "0011": 0.1, "0111": 0.0}
    trials = [
        Trial("round 1", name, MaskPlan.parse(name, 4), 3, Cost(), score, np.ones((2, 3), dtype=np.int64), np.arange(2))
        for name, score in scores.items()
    ]
    assert Halving.best_of(trials, 3) == ["0000", "0001", "0011"]
    assert not caplog.messages
    assert Halving.best_of(trials, 2) == ["0000", "0001"]
    (told,) = caplog.messages
    assert told.startswith("after 3 updates 2 of the 4 plans of round 1 have the same score on dev, so that chance")


@pytest.mark.parametrize("scoring", [0.0, 1.0, float("nan")])
def test_halving_needs_a_share_for_scoring(scoring: float) -> None:
    with pytest.raises(RecipeError, match="expected a share between 0 and 1"):
        Halving(scoring=scoring)


def test_bounded_plans_and_a_limit_of_the_look_ahead(tiny_llama: Path) -> None:
    strategy = Shared(finalists=2, per_update=2, uniform="open")
    result = search(tiny_llama, contexts=(0, 2), most_look_ahead=4, strategy=strategy, budget=3).result
    assert result.n_plans == 11
    assert all(trial.plan is None or (trial.plan.look_ahead or 0) <= 4 for trial in result.trials)
    assert sum(trial.stage == "final" for trial in result.trials) in (1, 2)
    assert result.to_dict()["look_ahead"] == result.plan.look_ahead


def test_a_plan_with_stars_is_no_emphasis_on_the_page(tiny_llama: Path) -> None:
    result = search(tiny_llama, plans=["0,*,*,2", "*,0,2,*"], strategy="exhaustive", budget=1).result
    page = result.to_markdown()
    assert r"| train | 0,\*,\*,2 |" in page
    assert not re.search(r"(?<!\\)\*", page)


def test_a_dev_set_that_costs_too_much_is_scored_in_part(tiny_llama: Path) -> None:
    result = search(tiny_llama, dev=toy_data(400, 3)).result
    scored = {
        trial.name: len(trial.counts) for trial in result.trials if trial.stage == "dev" and trial.counts is not None
    }
    assert min(scored.values()) < max(scored.values()) < 400
    assert sum(n == max(scored.values()) for n in scored.values()) <= Shared().leaders + 1
    assert scored["0000"] == max(scored.values())
    assert result.verdict.chosen in [name for name, n in scored.items() if n == max(scored.values())]


def test_adapters_are_shared_too(tiny_llama: Path, tmp_path: Path) -> None:
    result = search(tiny_llama, tmp_path / "out", method="lora", lora_r=2).result
    assert (tmp_path / "out" / "adapter").is_dir()
    assert Tagger.from_pretrained(tmp_path / "out").evaluate(DEV).f1 == pytest.approx(result.score)


def test_plan_auto_searches_within_fit(tiny_llama: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, device="cpu")
    result = tagger.fit(TRAIN, 0.4, plan="auto", out=tmp_path / "out", progress=False, **TRAINING)
    assert tagger.search_result is not None
    assert tagger.plan == tagger.search_result.plan
    assert result.outcome.best_score == tagger.search_result.score
    assert tagger.predict("Jordan said that it rains .") is not None
    assert Tagger.from_pretrained(tmp_path / "out").plan == tagger.plan
    with pytest.raises(LookRightError, match="already; search from its base"):
        tagger.fit(TRAIN, DEV, plan="auto", progress=False)


def test_a_shallow_base_has_fewer_groups(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As `fit(plan="auto")` on it has; groups that are asked for must be there."""
    base = toys.llama_folder(tmp_path / "base", layers=2)
    with caplog.at_level(logging.INFO, "lookright"):
        result = search(base, strategy="ladder").result
    assert [trial.name for trial in result.trials] == ["00", "01", "11"]
    assert "the base has fewer than 4 layers: each one is a group of its own (2)" in caplog.messages
    with pytest.raises(LookRightError, match="only 2 layers; take --groups 2"):
        search(base, groups=4)


def test_a_dev_set_that_is_train_is_said_once(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    search(tiny_llama, dev=TRAIN, plans=["0000", "0011"], strategy="exhaustive", budget=1)
    found = [record for record in caplog.records if "40 sentences of dev (100.0%) also in train" in record.message]
    assert [record.levelname for record in found] == ["WARNING"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dev": None}, "there is none: give dev"),
        ({"dev": toy_data(3, 0)}, "dev has 3 sentences with .* gold spans, which cannot tell plans apart"),
        ({"strategy": "sharded"}, "did you mean 'shared'"),
        ({"groups": 5}, "only 4 layers; take --groups 4"),
        ({"plan": "0011"}, "it is the plan that is searched"),
        ({"train_layers": "unmasked"}, "depends on the plan"),
        ({"strategy": "ladder", "plans": ["0000", "1111"]}, "the ladder has plans of its own"),
        ({"budget": 0.05}, "too little for one update"),
        ({"budget": -1.0}, "expected a positive number"),
        ({"resume": True}, "no out folder to resume from"),
        ({"level": 95}, "level is 95, expected a number above 0 and at most 0.999, such as 0.95"),
        ({"level": 0.99999}, "level is 0.99999, expected a number above 0 and at most 0.999"),
        ({"margin": -0.1}, "margin is -0.1, expected a number from 0 to 1, such as 0.003 for 0.3 points"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_line(tiny_llama: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(LookRightError, match=told) as caught:
        search(tiny_llama, **options)
    assert "\n" not in str(caught.value)


def test_encoders_and_saved_taggers_have_no_plan_to_search(
    tiny_encoder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(LookRightError, match="bert is an encoder"):
        search(tiny_encoder)
    saved = Tagger.from_pretrained(tiny_llama, labels=TRAIN.labels()).save_pretrained(tmp_path / "saved")
    with pytest.raises(LookRightError, match="a saved model, which has its own plan"):
        search(saved)


def test_several_processes_are_refused(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LookRightError, match="one process"):
        search(tiny_llama)


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0.0},
        {"share": 0.9, "scoring": 0.1},
        {"rate": 0.0},
        {"rate": math.nan},
        {"rate": math.inf},
        {"finalists": 0},
        {"leaders": 0},
    ],
)
def test_options_of_a_strategy_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(LookRightError):
        Shared(**options)
    assert strategy_of("shared") == Shared()
