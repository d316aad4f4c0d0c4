"""The result of a search, and its report: as JSON, as text for a terminal, as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lookright.models.headed import HeadedModel
from lookright.plan import MaskPlan
from lookright.search.judging import Verdict
from lookright.search.prices import Cost, Prices
from lookright.search.progress import look_ahead_text
from lookright.search.tasks import TaskWords
from lookright.search.trials import ALL_PLANS, Trial, total_cost
from lookright.training.fit import Trained
from lookright.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search came to.

    Attributes:
        plan: that was chosen.
        name: of the plan, as in the trials.
        model: the one that was trained under it.
        score: of the model on dev, from 0 to 1. It chose its checkpoint, too, so that it is no estimate for new text.
        score_name: what the score is, with its convention.
        verdict: by which the plan was chosen, and how sure that is.
        trials: what was tried, in order.
        budget: in fine-tunings.
        prices: what one fine-tuning is.
        strategy: name and options.
        n_plans: that were searched.
        n_dev: sentences or texts of dev.
        words: how the task is spoken of.
        recipe: of one fine-tuning, resolved.
        fit: the account of the training that gave the model; None where it was read back from the folder.
    """

    plan: MaskPlan
    name: str
    model: HeadedModel = field(repr=False)
    score: float | None
    score_name: str
    verdict: Verdict
    trials: tuple[Trial, ...] = field(repr=False)
    budget: float
    prices: Prices
    strategy: dict[str, Any]
    n_plans: int
    n_dev: int
    words: TaskWords
    recipe: Recipe = field(repr=False)
    fit: Trained | None = field(default=None, repr=False)

    @property
    def cost(self) -> Cost:
        """Of all trials."""
        return total_cost(self.trials)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "plan": self.name,
            "right_contexts": self.plan.to_list(),
            "open_layers": len(self.plan.unmasked_layers),
            "look_ahead": self.plan.look_ahead,
            "dev": {"score": self.score_name, "value": self.score, self.words.unit: self.n_dev},
            "strategy": self.strategy,
            "n_plans": self.n_plans,
            "budget": self.budget,
            "cost": self.cost.to_dict(),
            "one_fine_tuning": {
                "updates": self.prices.updates,
                "words": self.prices.trained(self.prices.updates),
                "dev_scored": self.prices.n_evals(self.prices.updates),
            },
            "verdict": self.verdict.to_dict(),
            "trials": [_trial_dict(trial) for trial in self.trials],
        }

    def lines(self) -> list[str]:
        """What people should know first: the plan, why, and at what cost."""
        value = "-" if self.score is None else f"{100 * self.score:.2f}"
        cost = self.cost
        return [
            f"plan {self.name} of {self.n_plans}: {self.plan.describe()} {reach_words(self.plan)}",
            *self.verdict.lines(),
            f"The {self.words.kind} trained under it: {self.score_name} {value} on dev.",
            f"Cost: {cost.fine_tunings:.2f} fine-tunings of a budget of {self.budget:g} ({cost.trained:,} "
            f"{self.words.cost} trained on, {cost.scored:,} scored, {cost.seconds:.0f} s).",
        ]

    def __str__(self) -> str:
        """For a terminal."""
        rows = _rows(self.trials, self.words.unit)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = [
            "  ".join([
                *(cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)),
                *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)),
            ]).rstrip()
            for row in rows
        ]  # fmt: skip
        return "\n".join([*self.lines(), "", *table])

    def to_markdown(self) -> str:
        """As a page."""
        rows = _rows(self.trials, self.words.unit)
        table = ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows]
        table.insert(1, "|" + "---|" * len(rows[0]))
        first, *rest = map(_plain, self.lines())
        parts = [f"# Search for a plan: {_plain(self.name)}", first, *(f"- {line}" for line in rest)]
        head = "\n".join([parts[0], "", parts[1], "", *parts[2:]])
        options = ", ".join(f"{name} {value}" for name, value in self.strategy.items() if name != "name")
        how = f"Strategy {self.strategy['name']}" + (f" ({options})" if options else "") + "."
        one = (
            f"One fine-tuning is {self.prices.updates} updates over {self.prices.trained(self.prices.updates):,} "
            f"{self.words.cost}, with dev ({self.n_dev:,} {self.words.unit}) scored "
            f"{self.prices.n_evals(self.prices.updates)} times."
        )
        return "\n".join([head, "", "## Trials", "", *table, "", how, one, ""])


def _plain(text: str) -> str:
    """Text in which a plan such as `0,*,*,0` is no emphasis."""
    return text.replace("*", "\\*")


def reach_words(plan: MaskPlan) -> str:
    """The total look-ahead of a plan, as a sentence."""
    if plan.look_ahead is None:
        return "In all it looks ahead without limit."
    return f"In all it looks ahead {plan.look_ahead} sub-word{'' if plan.look_ahead == 1 else 's'}."


def _trial_dict(trial: Trial) -> dict[str, Any]:
    row = trial.to_row()
    return {name: row[name] for name in row if name not in ("counts", "sentences", "format")}


def _rows(trials: Sequence[Trial], unit: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("stage", "plan", "look-ahead", "updates", "dev", unit, "cost", "seconds")]
    for trial in trials:
        rows.append(
            (
                trial.stage,
                "all" if trial.name == ALL_PLANS else trial.name,
                look_ahead_text(trial),
                str(trial.updates) if trial.updates else "-",
                "-" if trial.score is None else f"{100 * trial.score:.2f}",
                "-" if trial.counts is None else f"{len(trial.counts):,}",
                f"{trial.cost.fine_tunings:.3f}",
                f"{trial.cost.seconds:.1f}",
            )
        )
    return rows
