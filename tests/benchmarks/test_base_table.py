"""From rows to tables and plot."""

from __future__ import annotations

from pathlib import Path

import pytest
from base_studies import row_of
from benchmarks.base import table
from benchmarks.base.cells import PLANS, Cell

from benchmarks import results as result_file
from lookright.study.rows import Book, counts_file
from made_up_runs import counts_of

SEEDS = (0, 1, 2)


def study(path: Path, *, plans: tuple[str, ...] = PLANS, sets: tuple[str, ...] = ("snips", "wnut17")) -> Path:
    """A study in which 0111 is best, the encoder is better still, and mntp changes nothing."""
    book = Book(path)
    columns = [("decoder", plan, 0.6 + 0.05 * plan.count("1") * (plan[0] == "0")) for plan in plans]
    columns += [("encoder", "1111", 0.85), ("mntp-0011", "0011", 0.7)]
    for name in sets:
        for number, (variant, plan, quality) in enumerate(columns):
            for seed in SEEDS:
                counts = counts_of(quality, 10 * number + seed)
                book.add(row_of(Cell(variant, plan, name, seed), counts), counts)
    book.close()
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("study") / "runs.jsonl")


@pytest.fixture(scope="module")
def found(runs: Path) -> list[table.SetResult]:
    return table.results(*table.load([runs]), samples=1000)


def test_every_system_of_every_set_is_there(found: list[table.SetResult]) -> None:
    assert [result.name for result in found] == ["wnut17", "snips"]  # the order of the sets, not of the file
    for result in found:
        assert list(result.systems) == ["encoder", "decoder 0000", "decoder 1111", "decoder, best plan", "mntp-0011"]
        assert result.choice is not None
        assert (result.choice.plan, result.choice.seeds) == ("0111", SEEDS)
        assert result.systems["decoder, best plan"] == result.by_plan["0111"]


def test_the_comparisons_tell_what_was_put_in(found: list[table.SetResult]) -> None:
    for result in found:
        by_names = {(item.first, item.second): item for item in result.comparisons}
        better = by_names["encoder", "decoder 0000"]
        assert better.difference.difference > 0.2
        assert max(better.holm_sentences, better.holm_both) < 0.02
        same = by_names["mntp-0011", "decoder 0011"]
        assert min(same.holm_sentences, same.holm_both) > 0.2
        assert all(item.holm_sentences >= item.difference.p_sentences for item in result.comparisons)
        assert len(by_names) == 7
        assert result.paper is not None


def test_a_best_plan_that_is_causal_is_not_compared_with_itself(tmp_path: Path) -> None:
    path = study(tmp_path / "runs.jsonl", plans=("0000",), sets=("snips",))
    (result,) = table.results(*table.load([path]), samples=200)
    assert result.choice is not None
    assert result.choice.plan == "0000"
    assert not [item for item in result.comparisons if item.first == "decoder, best plan"]
    assert result.paper is None
    assert "15 of the sixteen plans have no runs yet" in table.report([result], table.load([path])[0], markdown=False)


def test_the_report_says_how_the_plan_was_chosen(runs: Path, found: list[table.SetResult]) -> None:
    rows, _ = table.load([runs])
    plain, marked = (table.report(found, rows, markdown=markdown) for markdown in (False, True))
    for text in (plain, marked):
        assert "of 16 plans the one with the highest mean on dev (seeds 0 1 2), reported on test" in text
        assert "strict span F1, IOB2, micro" in text
        assert "rejected" in text
    assert "| system | wnut17 | snips |" in marked
    assert "| encoder - decoder 0000 |" in marked


def test_seeds_can_be_left_out(runs: Path) -> None:
    rows, _ = table.load([runs], seeds=[0, 1])
    assert {cell.seed for cell in rows} == {0, 1}


def test_rows_without_counts_and_rows_of_two_studies_are_refused(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    path = study(tmp_path / "runs.jsonl", plans=("0000",), sets=("snips",))
    counts = counts_of(0.5, 0)
    for changes, message in (
        ({"recipe": {"dropout": 0.3}}, "not of one study: dropout"),
        ({"base": "other weights"}, "has other weights"),
        ({"data": {"test": "another"}}, "has other test data"),
    ):
        other = tmp_path / "other.jsonl"
        other.unlink(missing_ok=True)
        book = Book(other)
        book.add(row_of(Cell("decoder", "0001", "snips", 9), counts, **changes), counts)
        book.close()
        assert table.main([str(path), str(other)]) == 2
        assert message in capsys.readouterr().err
    counts_file(path).unlink()
    assert table.main([str(path)]) == 2
    assert "merge the counts files" in capsys.readouterr().err
    assert table.main([str(tmp_path / "nothing.jsonl")]) == 2


def test_the_command_writes_what_is_asked_for(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(result_file, "FOLDER", tmp_path / "results")
    arguments = [str(runs), "--samples", "200", "--markdown", str(tmp_path / "t.md"), "--plot", str(tmp_path / "p.png")]
    assert table.main([*arguments, "--record"]) == 0
    assert "decoder, best plan" in capsys.readouterr().out
    assert (tmp_path / "t.md").read_text().count("| system |") == 3
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    recorded = (tmp_path / "results" / "base.jsonl").read_text()
    assert recorded.count("\n") == 2 * (5 + 2 * 7 + 4)
