"""The tables of a study: one document of headings, texts and tables, as terminal text, Markdown or LaTeX; CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lookright.metrics import p_words
from lookright.study.pool import duration, points
from lookright.study.results import Branch, BranchResult, DataResult, StudyResults
from lookright.study.statistics import Compared, PaperTest, Summary

LEVEL: Final = 0.01
"""Of the paper's test."""
METHODS: Final = (
    "Intervals (95 %) are of the mean, by bootstrap over test sentences (or texts) and seeds. p (sent.): approximate "
    "randomization over sentences, all seeds together; p (both): paired bootstrap over sentences and seeds, rough "
    "below five seeds. Both are two-sided; Holm: after Holm's correction over all comparisons of the data set. No "
    "figure here covers the chance in pretraining."
)
PAPERS_TEST: Final = (
    "The paper's test (Dukić and Šnajder 2024): one-sided paired t-test of means over seeds over 17 pairs of plans; "
    "H0: opening further groups towards the output does not help; level 0.01. Its pairs share plans, so it rejects too "
    "often (7.7 % of the cases where plans do not differ at all); permuting the plans mends that."
)


@dataclass(frozen=True)
class Heading:
    """The title of a part."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        rows: of cells, the first one the head.
        left: so many columns are words, the others figures.
    """

    title: str
    rows: Sequence[Sequence[str]]
    left: int = 1


Block = Heading | Paragraph | Table


# -------------------------------------------------------------------------------------------------------- the document


def document(results: StudyResults) -> list[Block]:
    """All that is said of a study, in order."""
    blocks: list[Block] = [Paragraph(_about(results))]
    blocks.append(Table("test, mean ± standard deviation over seeds", overview(results), left=_left(results)))
    for data in results.data:
        blocks.append(Heading(data.name))
        blocks.append(Paragraph(f"{data.convention}, x 100; {data.n_test:,} test {data.unit}."))
        blocks.append(Table("systems", _systems(results, data), left=_left(results)))
        for branch, result in data.branches.items():
            blocks += [Paragraph(text) for text in _notes(results, branch, result)]
        if data.comparisons:
            blocks.append(Table("comparisons", _comparisons(results, data.comparisons)))
    if any(branch.groups for data in results.data for branch in data.branches.values()):
        blocks += [Heading("Groups of layers"), Table(GROUPS_TITLE, groups_table(results), left=2)]
    if results.troubles:
        blocks += [Heading("Runs that failed"), Paragraph(_trouble_words(results))]
        blocks.append(Table("failures", _trouble_rows(results), left=4))
    blocks += [Heading("How it was measured"), Paragraph(METHODS)]
    if any(branch.paper for data in results.data for branch in data.branches.values()):
        blocks.append(Paragraph(PAPERS_TEST))
    blocks.append(Paragraph(_surroundings(results)))
    return blocks


GROUPS_TITLE: Final = "gain in test points of opening one group, mean over pairs of plans that differ in it alone"


def _about(results: StudyResults) -> str:
    study = results.study
    parts = [f"Study {study.name}: {results.n_done} of {results.n_runs} runs are done"]
    left = [trouble for trouble in results.troubles if not trouble.done]
    if left:
        parts.append(f"{len(left)} failed")
    text = ", ".join(parts) + f" (seeds {' '.join(map(str, study.seeds))})."
    return f"{text} {study.description}".strip()


def _left(results: StudyResults) -> int:
    """How many columns name a system."""
    return 1 + (len(results.study.models) > 1) + (len(results.study.recipes) > 1)


def _name_cells(results: StudyResults, branch: Branch, plan: str) -> list[str]:
    cells = [branch.model] if len(results.study.models) > 1 else []
    return [*cells, *([branch.recipe] if len(results.study.recipes) > 1 else []), plan]


def _name_head(results: StudyResults) -> list[str]:
    head = ["model"] if len(results.study.models) > 1 else []
    return [*head, *(["recipe"] if len(results.study.recipes) > 1 else []), "plan"]


def overview(results: StudyResults) -> list[list[str]]:
    """A row for each system, a column for each data set; * marks the plan that dev chose."""
    rows = [[*_name_head(results), *(data.name for data in results.data)]]
    for branch in results.branches:
        plans = dict.fromkeys(p for data in results.data for p in _plans(data, branch))
        for plan in plans:
            cells = []
            for data in results.data:
                summary = data.branches[branch].by_plan.get(plan) if branch in data.branches else None
                mark = "*" if summary is not None and _chosen(data.branches[branch]) == plan else ""
                cells.append("-" if summary is None else mark + mean_and_sd(summary))
            rows.append([*_name_cells(results, branch, plan), *cells])
    return rows


def _plans(data: DataResult, branch: Branch) -> Sequence[str]:
    return list(data.branches[branch].by_plan) if branch in data.branches else []


def _chosen(result: BranchResult) -> str | None:
    return None if result.choice is None else result.choice.plan


def _systems(results: StudyResults, data: DataResult) -> list[list[str]]:
    rows = [[*_name_head(results), "dev", "test", "95 % interval", "seeds"]]
    for branch, result in data.branches.items():
        for plan, summary in result.by_plan.items():
            interval = f"{points(summary.low)} to {points(summary.high)}"
            seeds = str(len(summary.seeds))
            mark = "*" if _chosen(result) == plan else ""
            figures = [points(summary.dev), mark + mean_and_sd(summary), interval, seeds]
            rows.append([*_name_cells(results, branch, plan), *figures])
    return rows


def _notes(results: StudyResults, branch: Branch, result: BranchResult) -> list[str]:
    """What is said of a branch below its table: the choice of the plan, and the paper's test."""
    who = results.label(branch)
    notes = []
    if result.choice is not None:
        choice = result.choice
        notes.append(
            f"* {who}: the plan {choice.plan} has the highest mean on dev of {choice.n_plans} plans (seeds "
            f"{' '.join(map(str, choice.seeds))}; equals: the one that opens less); test took no part in the choice."
        )
    if result.paper is not None:
        notes.append(f"The paper's test, {who}: {'; '.join(_paper(s, t) for s, t in result.paper.items())}.")
    return notes


def _paper(split: str, test: PaperTest) -> str:
    verdict = "rejected" if test.p_value < LEVEL else "not rejected"
    return (
        f"{split}: mean gain {100 * test.gain:+.2f}, t = {test.statistic:.2f}, p {p_words(test.p_value)} "
        f"(H0 {verdict}), by permutation p {p_words(test.p_permuted)}"
    )


def _comparisons(results: StudyResults, comparisons: Sequence[Compared]) -> list[list[str]]:
    rows = [["comparison", "difference", "95 % interval", "p (sent.)", "Holm", "p (both)", "Holm"]]
    for item in comparisons:
        d = item.difference
        rows.append(
            [
                f"{short_name(results, item.first)} - {short_name(results, item.second)}",
                f"{100 * d.difference:+.2f}",
                f"{100 * d.low:+.2f} to {100 * d.high:+.2f}",
                p_cell(d.p_sentences), p_cell(item.holm_sentences), p_cell(d.p_both), p_cell(item.holm_both),
            ]
        )  # fmt: skip
    return rows


def short_name(results: StudyResults, system: str) -> str:
    """The name of a system with what the study varies alone."""
    model, recipe, plan = system.split("/", 2)
    return results.label(Branch(model, recipe), plan)


def groups_table(results: StudyResults) -> list[list[str]]:
    """A row for each branch and group, from the lowest; a column for each data set."""
    rows = [["system", "group", *(data.name for data in results.data)]]
    for branch in results.branches:
        n_groups = max((d.branches[branch].n_groups for d in results.data if branch in d.branches), default=0)
        for group in range(n_groups):
            cells = []
            for data in results.data:
                effects = data.branches[branch].groups if branch in data.branches else ()
                effect = next((e for e in effects if e.group == group), None)
                cells.append("-" if effect is None else f"{100 * effect.gain:+.2f} ({effect.n_pairs})")
            rows.append([results.label(branch), group_name(group, n_groups), *cells])
    return rows


def group_name(group: int, n_groups: int) -> str:
    """A group in words: its number, and where it is for the outer ones."""
    place = " (lowest)" if group == 0 else " (top)" if group == n_groups - 1 else ""
    return f"{group + 1}{place}"


def _trouble_words(results: StudyResults) -> str:
    mended = sum(trouble.done for trouble in results.troubles)
    left = len(results.troubles) - mended
    parts = [f"{mended} failed at first and were done when tried again"] if mended else []
    parts += [f"{left} have not been done; the next start tries them again"] if left else []
    return "; ".join(parts).capitalize() + "."


def _trouble_rows(results: StudyResults) -> list[list[str]]:
    rows = [["run", "failed", "in the end", "reason"]]
    for trouble in results.troubles:
        rows.append([trouble.cell, f"{trouble.tries} x", "done" if trouble.done else "failed", trouble.reason])
    return rows


def _surroundings(results: StudyResults) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    mean = duration(results.seconds / results.n_done)
    machines = "; ".join(results.machines)
    return f"{mean} a run, {duration(results.seconds)} in all, on {machines}. Versions: {versions}."


def mean_and_sd(summary: Summary) -> str:
    """Mean and standard deviation over seeds, where there are several."""
    return points(summary.mean) + ("" if summary.sd is None else f" ± {points(summary.sd)}")


def p_cell(value: float) -> str:
    """A p-value for a table."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


# ----------------------------------------------------------------------------------------------------------- as text


def to_text(blocks: Sequence[Block], *, width: int = 100) -> str:
    """The document for a terminal of so many characters; a table that is wider is cut into blocks of columns."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{block.text}\n{'=' * len(block.text)}")
        elif isinstance(block, Paragraph):
            parts.append(_wrapped(block.text, width))
        else:
            title = _wrapped(f"{block.title}:", width)
            pieces = [_with_long_last(block, width)] if block.left == len(block.rows[0]) else _pieces(block, width)
            parts += ["\n".join([title, *piece]) for piece in pieces]
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str, width: int) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def _pieces(table: Table, width: int) -> list[list[str]]:
    """The lines of a table, in as many blocks as its width needs; each repeats the columns of words."""
    widths = [max(len(row[column]) for row in table.rows) for column in range(len(table.rows[0]))]
    names, figures = list(range(table.left)), list(range(table.left, len(widths)))
    taken = sum(widths[column] + 2 for column in names)
    blocks: list[list[int]] = [[]]
    for column in figures:
        used = taken + sum(widths[c] + 2 for c in blocks[-1])
        if blocks[-1] and used + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    return [[_line(row, widths, names, block) for row in table.rows] for block in blocks]


def _with_long_last(table: Table, width: int) -> list[str]:
    """The lines of a table of words, the last column wrapped."""
    widths = [max(len(row[column]) for row in table.rows) for column in range(table.left - 1)]
    indent = sum(widths) + 2 * len(widths)
    if width - indent < 30:  # too narrow: below the others
        indent = 4
    lines = []
    for row in table.rows:
        head = "  ".join(cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=True)) + "  "
        below = _wrapped(row[-1], width - indent).splitlines() or [""]
        if len(head) <= indent:
            lines.append((head + below.pop(0)).rstrip())
        else:
            lines.append(head.rstrip())
        lines += [" " * indent + line for line in below]
    return lines


def _line(row: Sequence[str], widths: Sequence[int], names: Sequence[int], figures: Sequence[int]) -> str:
    cells = [row[column].ljust(widths[column]) for column in names]
    return "  ".join([*cells, *(row[column].rjust(widths[column]) for column in figures)]).rstrip()


def to_markdown(blocks: Sequence[Block]) -> str:
    """The document as Markdown."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"## {_markdown(block.text)}")
        elif isinstance(block, Paragraph):
            parts.append(_markdown(block.text))
        else:
            head, *rest = [f"| {' | '.join(map(_markdown, row))} |" for row in block.rows]
            rule = ["---"] * block.left + ["---:"] * (len(block.rows[0]) - block.left)
            parts.append("\n".join([f"{_markdown(block.title)}:", "", head, f"|{'|'.join(rule)}|", *rest]))
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    """Text in which nothing is taken for markup."""
    escaped = re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
    return " ".join(escaped.split())


_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": "$<$", ">": "$>$", "*": r"$^{*}$",
}  # fmt: skip


def to_latex(blocks: Sequence[Block]) -> str:
    """The document as LaTeX, to be included; tables need the package booktabs."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"\\subsection*{{{_latex(block.text)}}}")
        elif isinstance(block, Paragraph):
            parts.append(_latex(block.text))
        else:
            head, *rest = [" & ".join(map(_latex, row)) + r" \\" for row in block.rows]
            columns = "l" * block.left + "r" * (len(block.rows[0]) - block.left)
            lines = ["\\begin{table}[htbp]", "\\centering", f"\\caption{{{_latex(block.title)}}}"]
            lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", head, "\\midrule", *rest, "\\bottomrule"]
            parts.append("\n".join([*lines, "\\end{tabular}", "\\end{table}"]))
    return "\n\n".join(parts) + "\n"


_MINUS: Final = re.compile(r"(?<![\w.,-])-(?=\d)|(?<= )-(?= )")
"""A hyphen that is a minus: before a figure, or between two things of which one is taken from the other."""


def _latex(text: str) -> str:
    return "$-$".join("".join(_LATEX.get(sign, sign) for sign in part) for part in _MINUS.split(text))


# ------------------------------------------------------------------------------------------------------------- as CSV


def results_csv(results: StudyResults) -> str:
    """A line for each system on each data set; figures from 0 to 1."""
    head = ["dataset", "model", "recipe", "plan", "convention", "seeds", "dev", "mean", "sd", "low", "high", "chosen"]
    rows: list[list[object]] = []
    for data in results.data:
        for branch, result in data.branches.items():
            for plan, s in result.by_plan.items():
                chosen = int(_chosen(result) == plan)
                names = [data.name, branch.model, branch.recipe, plan, data.convention]
                rows.append([*names, " ".join(map(str, s.seeds)), s.dev, s.mean, s.sd, s.low, s.high, chosen])
    return _csv(head, rows)


def comparisons_csv(results: StudyResults) -> str:
    """A line for each comparison; figures from 0 to 1."""
    head = ["dataset", "first", "second", "seeds", "difference", "low", "high"]
    head += ["p_sentences", "holm_sentences", "p_both", "holm_both"]
    rows: list[list[object]] = []
    for data in results.data:
        for item in data.comparisons:
            d = item.difference
            names = [data.name, item.first, item.second, " ".join(map(str, d.seeds))]
            tests = [d.p_sentences, item.holm_sentences, d.p_both, item.holm_both]
            rows.append([*names, d.difference, d.low, d.high, *tests])
    return _csv(head, rows)


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([["" if value is None else value for value in row] for row in rows])
    return stream.getvalue()
