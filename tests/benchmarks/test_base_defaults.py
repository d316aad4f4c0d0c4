"""The studies behind the default recipe: which rows are paired, and the interval of their differences."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from benchmarks.base import defaults
from scipy.stats import ttest_1samp

from lookright.training.recipe import Recipe

ARGS = argparse.Namespace(sets=["a", "b"], seeds=[0, 1], study="opening", against="sudden", updates=10, base="x")


def test_every_setting_is_a_recipe() -> None:
    extra = {"plan", "n_train", "share"}
    for study in defaults.STUDIES.values():
        for options in study.values():
            Recipe.from_dict({name: value for name, value in options.items() if name not in extra})


def test_the_interval_is_students() -> None:
    differences = [0.4, -0.1, 1.2, 0.3, 0.9]
    interval = ttest_1samp(differences, 0).confidence_interval()
    assert defaults.with_interval(differences) == f"+0.54 [{interval.low:+.2f}, {interval.high:+.2f}]"
    assert defaults.with_interval([-1.0]) == "-1.00"
    assert defaults.with_interval([]) == "-"


def test_rows_are_paired_by_set_seed_and_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(defaults, "key_of", lambda args, setting, name: {"setting": setting, "set": name})

    def row(setting: str, name: str, seed: int, dev: float) -> dict[str, Any]:
        return {"setting": setting, "set": name, "seed": seed, "dev": dev, "last": dev - 1, "seconds": 2.0}

    rows = [
        row("0011 sudden", "a", 0, 50), row("0011 sudden", "a", 1, 60), row("0011 sudden", "b", 0, 10),
        row("1111 sudden", "a", 0, 5), row("0011 soft", "a", 0, 51), row("0011 soft", "a", 1, 63),
        row("0011 soft", "b", 0, 12), row("0011 soft", "b", 1, 99), row("1111 soft", "a", 0, 1),
        row("0011 soft", "a", 0, 77),  # a second row of the same run does not count
        row("0011 soft", "a", 2, 99),  # a seed that is not asked for
    ]  # fmt: skip
    study: Any = dict.fromkeys(("0011 sudden", "0011 soft", "1111 sudden", "1111 soft"))
    defaults.compare(ARGS, study, rows)
    lines = [line for line in capsys.readouterr().out.splitlines() if "| dev |" in line]
    assert lines == [
        f"| 0011 soft | dev | {defaults.with_interval([1, 3, 2])} | {defaults.with_interval([1, 3])} | +2.00 | 3 |",
        "| 1111 soft | dev | -4.00 | -4.00 | - | 1 |",
    ]
