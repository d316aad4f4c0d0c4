"""Rows of trials: they read back whole, and a torn line is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lookright.plan import MaskPlan
from lookright.search.prices import Cost
from lookright.search.trials import ALL_PLANS, Ledger, Trial

COUNTS = np.array([[1, 2, 1], [0, 0, 0], [70_000, 3, 3]])
TRIAL = Trial("dev", "0,0,2,2", MaskPlan((0, 0, 2, 2)), 0, Cost(0, 10, 1.5, 0.1), 0.5, COUNTS, np.array([4, 9, 2]))
RUN = Trial("shared", ALL_PLANS, None, 20, Cost(100, 0, 2.0, 0.7))


def test_rows_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trials.jsonl")
    for trial in (RUN, TRIAL):
        ledger.add(trial)
    again = Ledger(tmp_path / "trials.jsonl")
    assert [trial.key for trial in again.all()] == [("shared", "*"), ("dev", "0,0,2,2")]
    found = again.get("dev", "0,0,2,2")
    assert found is not None
    assert (found.plan, found.cost, found.score) == (TRIAL.plan, TRIAL.cost, 0.5)
    assert found.counts is not None
    assert found.sentences is not None
    assert np.array_equal(found.counts, COUNTS)
    assert found.sentences.tolist() == [4, 9, 2]
    assert again.get("final", "0011") is None
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert (rows[1]["look_ahead"], rows[1]["open_layers"], rows[1]["right_contexts"]) == (4, 2, [0, 0, 2, 2])


def test_a_torn_line_is_passed_over_and_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Ledger(path).add(RUN)
    with path.open("a") as file:
        file.write('{"format": 1, "stage": "dev", "pl')
    ledger = Ledger(path)
    assert [trial.key for trial in ledger.all()] == [RUN.key]
    ledger.add(TRIAL)
    assert [trial.key for trial in Ledger(path).all()] == [RUN.key, TRIAL.key]
