"""`lookright search` and `lookright train --plan auto`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lookright.cli.main import main

QUICK = ["--epochs", "1", "--batch-size", "4", "--precision", "float32", "--device", "cpu", "--learning-rate", "5e-3"]


def flags(files: Path, out: Path, *more: str) -> list[str]:
    named = ["--base", f"{files}/base", "--train", f"{files}/train.conll", "--dev", f"{files}/dev.conll"]
    return [*named, "--out", str(out), *QUICK, *more]


SEARCHED = ["--plans", "0000", "0011", "0,0,2,2", "--strategy", "exhaustive"]


@pytest.fixture(scope="module")
def searched(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search over three plans. Shared: read only."""
    out = tmp_path_factory.mktemp("search") / "out"
    assert main(["search", *flags(files, out, *SEARCHED), "--quiet"]) == 0
    return out


def test_from_files_to_a_tagger_and_a_report(files: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out"
    done = run("search", *flags(files, out, "--plans", "0000", "0,0,2,2", "--test", f"{files}/test.conll", "--json"))
    assert done.code == 0, done.err
    account = json.loads(done.out)
    assert account["plan"] in ("0000", "0,0,2,2")
    assert (account["n_plans"], account["strategy"]["name"], account["budget"]) == (2, "shared", 1.5)
    assert account["test"]["n_sentences"] == 12
    assert account["verdict"]["runner_up"]["n_sentences"] > 0
    assert [trial["look_ahead"] for trial in account["trials"] if trial["plan"] == "0,0,2,2"][:1] == [4]
    assert all(word in done.err for word in ("stage", "shared", "final", f"saved to {out}"))
    assert {**json.loads((out / "report.json").read_text()), "out": str(out), "test": account["test"]} == account
    assert "strict span F1" in (out / "README.md").read_text()


def test_the_folder_predicts(searched: Path, files: Path, run: Any) -> None:
    done = run("predict", searched, files / "test.conll")
    assert done.code == 0, done.err
    assert done.out


def test_a_search_that_is_done_shows_its_report_again(searched: Path, files: Path, run: Any) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in searched.iterdir()}
    done = run("search", *flags(files, searched, *SEARCHED), "--resume")
    assert (done.code, "is done" in done.err) == (0, True)
    assert done.out == (searched / "report.md").read_text()
    assert {path.name: path.stat().st_mtime_ns for path in searched.iterdir()} == before


def test_a_search_that_is_done_is_still_scored_on_test(searched: Path, files: Path, run: Any) -> None:
    done = run("search", *flags(files, searched, *SEARCHED, "--test", f"{files}/test.conll"), "--resume", "--json")
    assert done.code == 0, done.err
    again = run("evaluate", searched, files / "test.conll", "--json")
    assert json.loads(done.out)["test"]["f1"] == json.loads(again.out)["f1"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "2"], "budget was 3.0 and is 2.0 now"),
        (["--strategy", "halving"], 'strategy: name was "exhaustive" and is "halving" now'),
        (["--plans", "0000", "0011"], "plans was"),
        (["--epochs", "2"], "epochs was 1.0 and is 2.0 now"),
        (["--seed", "3"], "seed was 0 and is 3 now"),
        (["--dropout", "0.3"], "dropout was 0.1 and is 0.3 now"),
        (["--train", "test.conll"], "train data was"),
        (["--dev", "test.conll"], "dev data was"),
        (["--base", "tagger"], "base: weights was"),
    ],
)
def test_a_search_that_is_done_is_no_other_one(
    searched: Path, files: Path, fails: Any, arguments: list[str], told: str
) -> None:
    changed = [f"{files}/{name}" if (files / name).exists() else name for name in arguments]
    assert told in fails("search", *flags(files, searched, *SEARCHED, *changed), "--resume", code=2).err


def test_a_search_that_is_done_keeps_what_was_automatic(searched: Path, files: Path, run: Any) -> None:
    given = [flag for flag in flags(files, searched, *SEARCHED) if flag not in ("--learning-rate", "5e-3")]
    assert run("search", *given, "--resume").code == 0


def test_groups_of_a_search_that_is_done(files: Path, tmp_path: Path, run: Any, fails: Any) -> None:
    out = tmp_path / "out"
    given = flags(files, out, "--groups", "2", "--resume")
    begun = run("search", *given)
    assert begun.code == 0, begun.err
    assert f"{out} has no search to go on with: beginning at the beginning" in begun.err
    assert run("search", *given).code == 0
    assert "plans was" in fails("search", *flags(files, out, "--groups", "1", "--resume"), code=2).err
    assert "plans was" in fails("search", *flags(files, out, "--resume"), code=2).err


def test_test_data_is_looked_at_before_the_search(
    files: Path, tmp_path: Path, fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookright.api.searching.run_search", None)
    odd, out = tmp_path / "odd.conll", tmp_path / "out"
    odd.write_text("here\tB-XYZ\n")
    told = fails("search", *flags(files, out, "--test", str(odd))).err
    assert "odd.conll: train and test share no type: train has LOC, ORG, PER; test has XYZ" in told
    odd.write_text("here\tB-XYZ\nJordan\tB-LOC\n")
    told = fails("search", *flags(files, out, "--test", str(odd), "--strict-labels")).err
    assert "test has types that train has not: XYZ" in told
    assert not out.exists()


def test_train_with_plan_auto(files: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out"
    done = run("train", *flags(files, out, "--plan", "auto", "--test", f"{files}/test.conll", "--json"))
    assert done.code == 0, done.err
    report = json.loads((out / "report.json").read_text())
    assert report["n_plans"] == 16
    assert json.loads(done.out)["dev"]["value"] == report["dev"]["value"]
    assert run("evaluate", out, files / "test.conll").code == 0


def test_a_dry_run_keeps_the_plan_open(files: Path, run: Any) -> None:
    done = run("train", "--base", files / "base", "--train", files / "train.conll", "--plan", "auto", "--dry-run")
    assert done.code == 0, done.err
    assert 'plan = "auto"' in done.out


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["--strategy", "shred"], "did you mean 'shared'", 2),
        (["--groups", "9"], "9 groups are asked for, but the model has only 4 layers", 2),
        (["--contexts", "0,x"], 'found "x"', 2),
        (["--plan", "0011"], "--plan is what is searched", 2),
        (["--plans", "0011"], "at least two plans", 2),
        (["--plans", "0011", "0000", "--groups", "2"], "leave out --groups", 2),
        (["--budget", "nan"], "expected a positive number", 2),
        (["--budget", "x"], "--budget", 2),
        (["--train-layers", "unmasked"], "depends on the plan", 2),
    ],
)
def test_bad_flags(files: Path, tmp_path: Path, fails: Any, arguments: list[str], told: str, code: int) -> None:
    out = tmp_path / "out"
    assert told in fails("search", *flags(files, out, *arguments), code=code).err
    assert not out.exists()


def test_other_bad_input(files: Path, searched: Path, tmp_path: Path, fails: Any, tiny_encoder: Path) -> None:
    train, out = f"{files}/train.conll", str(tmp_path / "out")
    assert "--dev" in fails("search", "--train", train, "--out", out, code=2).err
    (tmp_path / "dev.conll").write_text("Jordan\tB-LOC\n\nis\tO\n\nhere\tO\n")
    small = ["--train", train, "--dev", f"{tmp_path}/dev.conll", "--out", out]
    assert "3 sentences with 1 gold spans, which cannot tell plans apart" in fails("search", *small).err
    assert "an earlier search; go on with --resume" in fails("search", *flags(files, searched)).err
    assert "strategy: name was" in fails("search", *flags(files, copied(searched, tmp_path), "--resume"), code=2).err
    assert "holds something else" in fails("search", *flags(files, files)).err
    encoder = ["--base", str(tiny_encoder), "--train", train, "--dev", f"{files}/dev.conll", "--out", out]
    assert "is an encoder" in fails("search", *encoder).err
    assert "there is none: give dev" in fails("train", "--train", train, "--plan", "auto", "--out", out, code=2).err
    assert not Path(out).exists()


def copied(searched: Path, folder: Path) -> Path:
    """A search that is not done, from one that is."""
    (folder / "begun").mkdir()
    (folder / "begun" / "search.json").write_bytes((searched / "search.json").read_bytes())
    return folder / "begun"
