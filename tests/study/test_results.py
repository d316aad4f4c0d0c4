"""From rows to results, tables, plots and the page, on figures whose answer is known."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from study_rows import row_of

from lookright.errors import DataError, MissingExtraError, OutputError
from lookright.study import plots
from lookright.study.definition import Study, StudyData, StudyModel, StudyRecipe
from lookright.study.folder import StudyFolder, last_of
from lookright.study.matrix import jobs_of
from lookright.study.plans import SIXTEEN
from lookright.study.results import Branch, StudyResults, results_of, system_name
from lookright.study.rows import Counts, Row
from lookright.study.tables import Table, comparisons_csv, document, results_csv, to_latex, to_markdown, to_text
from made_up_runs import counts_of

EVIL = "<script>alert('&_%$#{}~^|')</script>"


def study_of(**changes: Any) -> Study:
    """Two models, one of which has its own plan, on two sets."""
    values: dict[str, Any] = {
        "name": "made-up",
        "models": (StudyModel("nano", "lookright-nano"), StudyModel("enc", "encoder", plans=("own",))),
        "datasets": (StudyData("snips", "a", "b"), StudyData("notes", "c", "d")),
        "recipes": (StudyRecipe("short", {"epochs": 1}),),
        "plans": SIXTEEN,
        "seeds": (0, 1, 2),
        "baseline": "0000",
        "description": EVIL,
        **changes,
    }
    return Study(**values)


def made_up(study: Study) -> tuple[list[Row], dict[str, Counts]]:
    """Rows in which opening a group gains the more the higher it is, and the encoder is better still."""
    rows, counts = [], {}
    for number, job in enumerate(jobs_of(study)):
        plan = job.cell.plan
        quality = 0.9 if plan == "own" else 0.6 + sum(0.01 * (g + 1) ** 1.5 for g, d in enumerate(plan) if d == "1")
        own = counts_of(quality, number)
        row = row_of(job.cell, own)
        rows.append(row)
        counts[row["run"]] = own
    return rows, counts


@pytest.fixture(scope="module")
def results() -> StudyResults:
    study = study_of()
    found = results_of(study, *made_up(study), samples=300)
    assert found is not None
    return found


def test_systems_choice_and_comparisons(results: StudyResults) -> None:
    assert [data.name for data in results.data] == ["snips", "notes"]
    assert results.branches == [Branch("nano", "short"), Branch("enc", "short")]
    for data in results.data:
        nano, encoder = data.branches.values()
        assert list(nano.by_plan) == list(SIXTEEN)
        assert nano.choice is not None
        assert nano.choice.plan == "1111"
        assert (list(encoder.by_plan), encoder.choice, encoder.paper) == (["own"], None, None)
        assert len(data.comparisons) == 15 + 1
        assert {item.second for item in data.comparisons} == {"nano/short/0000"}
        by_name = {item.first: item for item in data.comparisons}
        assert by_name["enc/short/own"].difference.difference > 0.2
        assert by_name["enc/short/own"].holm_both < 0.06
        assert all(item.holm_sentences >= item.difference.p_sentences for item in data.comparisons)
        assert nano.paper is not None
        assert nano.paper["test"].p_value < 0.01


def test_the_effect_of_a_group_is_the_mean_over_plans_that_differ_in_it_alone(results: StudyResults) -> None:
    nano = results.data[0].branches[Branch("nano", "short")]
    assert [effect.n_pairs for effect in nano.groups] == [8, 8, 8, 8]
    gains = [effect.gain for effect in nano.groups]
    for group, gain in enumerate(gains):
        assert gain == pytest.approx(0.01 * (group + 1) ** 1.5, abs=0.012)
    pairs = [(p, p[:3] + "1") for p in SIXTEEN if p[3] == "0"]
    by_hand = sum(nano.by_plan[b].mean - nano.by_plan[a].mean for a, b in pairs) / 8
    assert gains[3] == pytest.approx(by_hand)


def test_a_ladder_tells_each_group_from_one_pair(tmp_path: Path) -> None:
    study = study_of(plans=("0000", "0001", "0011", "0111", "1111"))
    found = results_of(study, *made_up(study), samples=100)
    assert found is not None
    assert [e.n_pairs for e in found.data[0].branches[Branch("nano", "short")].groups] == [1, 1, 1, 1]
    assert found.data[0].branches[Branch("nano", "short")].paper is None


def test_the_paper_s_test_knows_the_plans_by_what_they_mean() -> None:
    names = ["causal", *SIXTEEN[1:-1], "bidirectional"]
    study = study_of(plans=tuple(names), baseline="causal")
    renamed = results_of(study, *made_up_as(study), samples=100)
    assert renamed is not None
    assert renamed.data[0].branches[Branch("nano", "short")].paper is not None


def made_up_as(study: Study) -> tuple[list[Row], dict[str, Counts]]:
    rows, counts = [], {}
    for number, job in enumerate(jobs_of(study)):
        own = counts_of(0.7, number)
        rows.append(row_of(job.cell, own))
        counts[rows[-1]["run"]] = own
    return rows, counts


def test_failed_runs_are_counted_and_told_apart() -> None:
    study = study_of()
    rows, counts = made_up(study)
    mended, lost = rows[0], rows.pop()
    failure = {"status": "failed", "error": "out of memory", "traceback": ""}
    rows += [{**mended, **failure, "run": "x"}, {**lost, **failure, "run": "y"}, {**lost, **failure, "run": "z"}]
    found = results_of(study, rows, counts, samples=100)
    assert found is not None
    assert [(t.tries, t.done) for t in found.troubles] == [(1, True), (2, False)]
    text = to_text(document(found))
    assert f"{found.n_runs - 1} of {found.n_runs} runs are done, 1 failed" in text
    assert "1 failed at first and were done when tried again; 1 have not been done" in text
    assert "out of memory" in text
    assert max(map(len, to_text(document(found), width=80).splitlines())) <= 80
    assert last_of(rows, lost["cell"]) == rows[-1]
    assert last_of(rows, mended["cell"]) == mended


def test_nothing_done_is_no_result_and_other_cells_are_left_out() -> None:
    study = study_of()
    rows, counts = made_up(study)
    assert results_of(study, [], {}) is None
    smaller = replace(study, seeds=(0,))
    found = results_of(smaller, rows, counts, samples=100)
    assert found is not None
    assert found.n_done == found.n_runs == len(rows) / 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": "other"}, "the weights of nano changed"),
        ({"data": {"test": "other"}}, "the data of snips changed"),
        ({"recipe": {"dropout": 0.2}}, "dropout is 0.1"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(change: dict[str, Any], words: str) -> None:
    study = study_of()
    rows, counts = made_up(study)
    rows[4] = {**rows[4], **change}
    with pytest.raises(DataError, match=words):
        results_of(study, rows, counts)
    rows, counts = made_up(study)
    del counts[rows[3]["run"]]
    with pytest.raises(DataError, match="merge the counts files"):
        results_of(study, rows, counts)


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_tables_fit_their_width(results: StudyResults, width: int) -> None:
    text = to_text(document(results), width=width)
    assert max(map(len, text.splitlines())) <= width
    for data in results.data:
        assert f"{data.name}\n{'=' * len(data.name)}" in text
    assert "The paper's test, nano" in text
    assert "H0 rejected" in text


def test_a_wide_overview_is_cut_into_columns_that_repeat_the_names() -> None:
    sets = tuple(StudyData(f"a-long-name-{n}", "a", "b") for n in range(6))
    study = study_of(datasets=sets, plans=("0000", "0011"), seeds=(0, 1))
    found = results_of(study, *made_up(study), samples=100)
    assert found is not None
    lines = to_text(document(found), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if line.startswith("model") and "a-long-name" in line]
    assert len(heads) > 1
    assert sum(line.count("a-long-name") for line in heads) == 6


def test_markdown_and_latex_escape(results: StudyResults) -> None:
    blocks = document(results)
    marked, latex = to_markdown(blocks), to_latex(blocks)
    assert "<script>" not in marked.replace("\\<", "")
    assert "\\|" in marked
    assert "| model | plan | snips | notes |" in marked
    assert r"\&\_\%\$\#\{\}\textasciitilde{}\textasciicircum{}" in latex
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == latex.count("\\toprule") > 3
    assert "±" not in latex
    assert not re.search(r"(?<!\\)[%#](?! Needs)", latex)


def test_a_minus_in_latex_is_no_hyphen() -> None:
    cells = ["0011 - 0000", "-0.52", "-1.30 to -0.20", "-", "a-long-name-5", "1e-05", "0,-1,2", "(-3 %)"]
    latex = to_latex([Table("gain -0.30 of wnut-17", [cells])])
    found = re.search(r"(0011.*) \\\\", latex)
    assert found is not None
    assert found[1].split(" & ") == [
        "0011 $-$ 0000", "$-$0.52", "$-$1.30 to $-$0.20", "-", "a-long-name-5", "1e-05", "0,-1,2", r"($-$3 \%)"
    ]  # fmt: skip
    assert "\\caption{gain $-$0.30 of wnut-17}" in latex


def test_no_figure_of_a_study_has_a_hyphen_in_latex() -> None:
    study = study_of(baseline="1111")
    found = results_of(study, *made_up(study), samples=100)
    assert found is not None
    latex = to_latex(document(found))
    assert "$-$" in latex
    assert not re.search(r"(?<![\w$])-\d| - ", latex)


def test_csv_has_a_line_for_each_system_and_comparison(results: StudyResults) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(results))))
    assert len(rows) == 2 * 17
    first = results.data[0].branches[Branch("nano", "short")].by_plan["0000"]
    assert float(rows[0]["mean"]) == first.mean
    assert [row["plan"] for row in rows if row["chosen"] == "1"] == ["1111", "1111"]
    tests = list(csv.DictReader(io.StringIO(comparisons_csv(results))))
    assert len(tests) == 2 * 16
    assert tests[0]["first"] == system_name(Branch("nano", "short"), "0001")


# ------------------------------------------------------------------------------------------------- plots, page, folder


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset")]


def test_the_folder_gets_tables_plots_and_a_page_that_stands_alone(results: StudyResults, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = StudyFolder(tmp_path).write(results, plots=True)
    names = {str(file.relative_to(tmp_path)) for file in files}
    assert names == {
        "tables.md", "tables.tex", "results.csv", "comparisons.csv", "report.html",
        *(f"plots/{name}.{kind}" for name in ("plans", "groups", "curves") for kind in ("png", "svg")),
    }  # fmt: skip
    assert (tmp_path / "plots" / "plans.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "&lt;script&gt;" in text
    assert text.endswith("</html>\n")
    svg = (tmp_path / "plots" / "plans.svg").read_bytes()
    plots._save(plots.plans_figure(results), tmp_path / "again")
    assert (tmp_path / "again.svg").read_bytes() == svg
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_without_matplotlib_plots_are_refused_and_the_rest_is_written(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"--no-plots.*lookright\[plots\]"):
        plots.require_matplotlib()
    StudyFolder(tmp_path).write(results, plots=False)
    assert "No plots" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "plots").exists()


def test_a_folder_is_of_one_study(tmp_path: Path) -> None:
    study, folder = study_of(), StudyFolder(tmp_path / "out")
    folder.begin(study)
    folder.begin(replace(study, seeds=(7, 8), plans=("0000",), models=study.models[:1]))
    folder.begin(replace(study, recipes=(StudyRecipe("another", {}),)))
    with pytest.raises(OutputError, match="holds the study 'made-up', and this one is 'other'"):
        folder.begin(replace(study, name="other"))
    changed = replace(study, recipes=(StudyRecipe("short", {"epochs": 2}),))
    with pytest.raises(OutputError, match=r"\[recipe.short\] epochs was 1 and is 2 now"):
        folder.begin(changed)
    with pytest.raises(OutputError, match=r"\[model.nano\] base was 'lookright-nano' and is 'x' now"):
        folder.check(replace(study, models=(StudyModel("nano", "x"),)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"holds something else \(notes.txt\)"):
        StudyFolder(tmp_path / "mine").begin(study)
    with pytest.raises(OutputError, match="is a file"):
        StudyFolder(tmp_path / "mine" / "notes.txt").begin(study)
    (tmp_path / "out" / "study.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        folder.check(study)
