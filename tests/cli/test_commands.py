"""What the commands do when all is well: data on stdout, words on stderr, order kept, files whole."""

from __future__ import annotations

import io
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lookright.data import read_conll

TEXTS = ["Jordan smiled at us.", "", "they live in Paris 😀", "Zagreb"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------------ predict


def test_predict_keeps_lines_and_order(files: Path, texts: Path, run: Any) -> None:
    done = run("predict", files / "tagger", texts)
    records = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert [record["text"] for record in records] == TEXTS
    for record in records:
        for span in record["spans"]:
            assert record["text"][span["start"] : span["end"]] == span["text"]
            assert 0 < span["score"] <= 1


def test_predict_says_what_the_tagger_says(files: Path, run: Any) -> None:
    from lookright import Tagger

    gold = read_conll(files / "test.conll")
    expected = [tagging.tags for tagging in Tagger.from_pretrained(files / "tagger").tag(gold.sentences)]
    done = run("predict", files / "tagger", files / "test.conll", "--format", "jsonl")
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [tuple(record["tags"]) for record in records] == expected
    assert [tuple(record["tokens"]) for record in records] == [sentence.words for sentence in gold]


def test_predict_writes_columns_that_read_back(files: Path, tmp_path: Path, run: Any) -> None:
    done = run("predict", files / "tagger", files / "test.conll", "--format", "conll", "--out", tmp_path / "out.conll")
    assert (done.code, done.out) == (0, "")
    assert f"written to {tmp_path}/out.conll" in done.err
    assert [s.words for s in read_conll(tmp_path / "out.conll")] == [s.words for s in read_conll(files / "test.conll")]


def test_predict_writes_a_page(files: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "evil.txt").write_text("<script>alert(1)</script>\n")
    done = run("predict", files / "tagger", tmp_path / "evil.txt", "--format", "html")
    assert done.out.startswith("<!doctype html>")
    assert done.out.endswith("</html>\n")
    assert "<script" not in done.out


def test_predict_shows_brackets_where_there_is_no_colour(files: Path, texts: Path, run: Any) -> None:
    done = run("predict", files / "tagger", texts, "--format", "terminal")
    assert "\x1b" not in done.out
    plain = re.sub(r"\[(.*?) (LOC|ORG|PER)\]", r"\1", done.out)
    assert plain.splitlines() == TEXTS


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_predict_honours_no_color(no_color: str, coloured: bool, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookright.data import Read
    from lookright.inference.formats import Screen
    from lookright.inference.predictor import Span, Tagging

    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    sentence = read_conll(files / "test.conll")[0]
    end = len(sentence.words[0])
    span = Span("LOC", 0, end, sentence.words[0], 0.9, 0, 1)
    tagging = Tagging(("B-LOC", *["O"] * (len(sentence) - 1)), (0.9,) * len(sentence), (span,))
    shown = Screen(("LOC",), terminal=True).body([(Read(sentence), tagging)])
    assert ("\x1b[1;3" in shown) == coloured
    assert "\x1b" not in Screen(("LOC",), terminal=False).body([(Read(sentence), tagging)])


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_predict_reads_stdin(arguments: tuple[str, ...], files: Path, run: Any, monkeypatch: Any) -> None:
    stream = io.BufferedReader(io.BytesIO(b"Zagreb is nice.\n"))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream, encoding="utf-8"))
    done = run("predict", files / "tagger", *arguments)
    assert json.loads(done.out)["text"] == "Zagreb is nice."


# ----------------------------------------------------------------------------------------------------------- evaluate


def test_evaluate_prints_a_table_or_json(files: Path, run: Any) -> None:
    done = run("evaluate", files / "tagger", files / "test.conll")
    assert done.out.startswith("strict span F1, IOB2, micro: ")
    assert all(f"\n{kind} " in done.out for kind in ("LOC", "ORG", "PER", "micro", "macro"))
    scores = json.loads(run("evaluate", files / "tagger", files / "test.conll", "--json").out)
    assert scores["n_sentences"] == 12
    lenient = json.loads(
        run("evaluate", files / "tagger", files / "test.conll", "--json", "--convention", "conlleval").out
    )
    assert lenient["convention"].startswith("conlleval")


# --------------------------------------------------------------------------------------------------------------- info


def test_info_draws_the_plan_and_what_was_measured(files: Path, run: Any) -> None:
    done = run("info", files / "base", "--plan", "0,0,2,*")
    assert done.code == 0
    assert all(word in done.out for word in ("llama", "sdpa, eager", "packing", "measured"))
    facts = json.loads(run("info", files / "base", "--plan", "0,0,2,*", "--json").out)
    assert facts["plan"]["right_contexts"] == [0, 0, 2, -1]
    assert facts["plan"]["measured"] == [0, 0, 2, facts["plan"]["probe_length"] - 1]


def test_info_of_a_saved_tagger(files: Path, run: Any) -> None:
    facts = json.loads(run("info", files / "tagger", "--json").out)
    assert facts["kind"] == "tagger"
    assert facts["tagger"]["types"] == ["LOC", "ORG", "PER"]
    assert facts["plan"]["spec"] == "01"
    assert "leave --plan out" in run("info", files / "tagger", "--plan", "1").err


def test_info_of_an_encoder(tiny_encoder: Path, run: Any) -> None:
    done = run("info", tiny_encoder)
    assert "encoder" in done.out
    assert "plan" not in done.out


def test_info_ends_with_1_when_the_plan_does_not_hold(files: Path, run: Any, monkeypatch: Any) -> None:
    """A model whose attention ignores the plan: the masks of every layer are the causal one."""
    from lookright.attention import masks

    monkeypatch.setattr(masks, "closure", lambda mask, right: mask)
    done = run("info", files / "base", "--plan", "1111", "--backend", "eager")
    assert done.code == 1
    assert "the plan does not hold: layer 0" in done.err


def test_the_comma_form_of_ones_is_explained(files: Path, run: Any) -> None:
    assert 'write "0011"' in run("info", files / "base", "--plan", "0,0,1,1").err


# -------------------------------------------------------------------------------------------------------------- check


def test_check_counts_subwords_of_a_model(files: Path, run: Any) -> None:
    without = run("check", files / "train.conll")
    assert without.err == ""
    assert "sub-words" not in without.out
    assert "sub-words per sentence" in run("check", files / "train.conll", "--model", files / "base").out
    assert "sub-words per sentence" in run("check", files / "train.conll", "--model", files / "tagger").out
    report = json.loads(run("check", files / "train.conll", "--json").out)
    assert report["splits"]["train"]["n_sentences"] == 30


# -------------------------------------------------------------------------------------------------------------- train


def flags(files: Path, **options: Any) -> list[str]:
    given = {"base": files / "base", "train": files / "train.conll", **options}
    return ["train", *(text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value)))]


def test_defaults_then_file_then_flags(files: Path, tmp_path: Path, run: Any) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("epochs = 7\nseed = 5\n")
    done = run(*flags(files, recipe=recipe, seed=6), "--dry-run", "--quiet")
    resolved = tomllib.loads(done.out)
    assert (resolved["epochs"], resolved["seed"], resolved["decode"]) == (7, 6, "viterbi")
    assert resolved["method"] == "full"  # an automatic value, resolved
    assert done.err == ""


def test_a_resolved_recipe_is_a_recipe(files: Path, tmp_path: Path, run: Any) -> None:
    once = run(*flags(files), "--dry-run", "--quiet").out
    (tmp_path / "once.toml").write_text(once)
    assert run("train", "--recipe", tmp_path / "once.toml", "--dry-run", "--quiet").out == once


def test_train_reports_on_test_and_says_what_comes_next(files: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "a result"
    done = run(*flags(files, dev=files / "dev.conll", test=files / "test.conll", out=out, epochs=1))
    assert done.code == 0
    assert done.out.startswith("test: strict span F1, IOB2, micro: ")
    assert "epoch" in done.err
    assert f"saved to {out}" in done.err
    assert f"next: lookright predict '{out}'" in done.err
    assert {"config.json", "model.safetensors", "README.md", "recipe.toml", "run.json", "log.jsonl"} <= {
        path.name for path in out.iterdir()
    }
    assert "test" in (out / "README.md").read_text()


def test_train_as_json_keeps_stdout_clean(files: Path, tmp_path: Path, run: Any) -> None:
    done = run(*flags(files, dev="0.2", out=tmp_path / "out", epochs=1), "--json", "--quiet")
    account = json.loads(done.out)
    assert account["dev"]["score"].startswith("strict span F1")
    assert account["test"] is None
    assert done.err == ""


def test_without_a_base_the_bundled_one_is_taken_and_said(files: Path, tmp_path: Path, run: Any) -> None:
    done = run("train", "--train", files / "train.conll", "--epochs", "0.1", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "no --base is given: taking lookright-nano" in done.err
    assert 'base = "lookright-nano"' in (tmp_path / "out" / "recipe.toml").read_text()
    again = run("train", "--recipe", tmp_path / "out" / "recipe.toml", "--out", tmp_path / "out", "--resume")
    assert again.code == 0, again.err


def test_a_saved_tagger_is_a_base(files: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "new.conll").write_text("Zagreb\tB-city\n.\tO\n\nJordan\tB-PER\n.\tO\n\n")
    done = run("train", "--base", files / "tagger", "--train", tmp_path / "new.conll", "--epochs", "1",
               "--out", tmp_path / "out")  # fmt: skip
    assert done.code == 0, done.err
    assert "new in train: city" in done.err
    facts = json.loads(run("info", tmp_path / "out", "--json").out)
    assert facts["tagger"]["types"] == ["LOC", "ORG", "PER", "city"]


# --------------------------------------------------------------------------------------------------------------- demo


def test_demo(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookright.cli import demo

    monkeypatch.setattr(demo, "QUICK", demo.Size(train=40, dev=10, test=20, epochs=1))
    out = tmp_path / "demo"
    done = run("demo", "--quick", "--out", out)
    assert done.code == 0, done.err
    assert "lookright-nano, bundled" in done.err
    assert re.search(r"type +causal +0011 +gold", done.out)
    assert all(kind in done.out for kind in ("person", "location", "all"))
    assert (out / "demo.html").read_text().count("<section") >= 5
    assert demo.claimed(out) == out  # it can be run again in the same place
    assert run("predict", out / "tagger", "--quiet", out / "demo.html").code == 0
