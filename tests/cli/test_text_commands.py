"""The commands with whole texts: check, train, evaluate, predict, info, and what they refuse."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import toys
from lookright.cli.main import main


def lookright(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def write(path: Path, texts: list[tuple[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": gold}) + "\n" for text, gold in texts))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write(folder / "train.jsonl", toys.toy_texts(24, 0))
    write(folder / "dev.jsonl", toys.toy_texts(10, 1))
    rows = "".join(f'{number},"{text}",{label}\n' for number, (text, label) in enumerate(toys.toy_texts(10, 2)))
    (folder / "test.csv").write_text("id,body,topic\n" + rows)
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tiny_llama: Path) -> Path:
    sets = ["--train", data / "train.jsonl", "--dev", data / "dev.jsonl"]
    options = ["--epochs", "1", "--device", "cpu", "--quiet"]
    assert main([*map(str, ["train", "--base", tiny_llama, *sets, *options, "--out", data / "model"])]) == 0
    return data / "model"


def test_train_reads_the_task_from_the_data(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write(tmp_path / "t.jsonl", toys.toy_texts(5, 3))
    code, out, err = lookright(
        capsys, "train", "--base", tiny_llama, "--train", data / "train.jsonl", "--dev", "0.2", "--epochs", "1",
        "--pooling", "max", "--out", tmp_path / "out", "--json", "--test", test,
    )  # fmt: skip
    assert code == 0, err
    assert "task: text, single-label" in err
    assert json.loads(out)["test"]["headline"] == "accuracy"
    recipe = (tmp_path / "out" / "recipe.toml").read_text()
    assert 'task = "text"' in recipe
    assert 'pooling = "max"' in recipe
    assert "# subword =" in recipe


def test_a_dry_run_resolves_and_trains_nothing(
    data: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = lookright(
        capsys, "train", "--base", tiny_llama, "--train", data / "train.jsonl", "--plan", "causal", "--dry-run"
    )
    assert code == 0
    assert 'pooling = "last"' in out


def test_evaluate_and_its_plots(data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    columns = ["--text-column", "body", "--label-column", "topic"]
    code, out, err = lookright(capsys, "evaluate", model, data / "test.csv", *columns, "--plots", tmp_path / "plots")
    assert code == 0, err
    assert out.startswith("accuracy: ")
    assert (tmp_path / "plots" / "confusion.png").is_file()
    code, out, _ = lookright(capsys, "evaluate", model, data / "dev.jsonl", "--json", "--quiet")
    assert json.loads(out)["n_texts"] == 10


def test_predict_keeps_what_a_record_holds(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = lookright(capsys, "predict", model, data / "test.csv", "--text-column", "body", "--all-scores")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == [str(number) for number in range(10)]
    assert all(row["label"] in ("good", "bad") and set(row["scores"]) == {"good", "bad"} for row in rows)
    plain = tmp_path / "lines.txt"
    plain.write_text("a fine film\n\nan awful film\n")
    _, out, _ = lookright(capsys, "predict", model, plain)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a fine film", "", "an awful film"]
    plain.write_text("short\n" + "a long text " * 400)
    _, out, _ = lookright(capsys, "predict", model, plain)
    short, long = (json.loads(line) for line in out.splitlines())
    assert "n_windows" not in short
    assert long["n_windows"] > 1


def test_predict_overwrites_nothing_of_a_record(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    given = {"label": "urgent", "score": 3, "labels": ["x"], "scores": None, "value": 0, "n_windows": "two"}
    records = [{"id": 7, "text": "a fine film", **given}, {"id": 8, "text": "an awful film"}]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    code, out, err = lookright(capsys, "predict", model, file)
    assert code == 0, err
    one, other = map(json.loads, out.splitlines())
    assert list(one) == ["id", "text", "input", "label", "score"]
    assert (one["id"], one["text"], one["input"]) == (7, "a fine film", given)
    assert one["label"] in ("good", "bad")
    assert list(other) == ["id", "text", "label", "score"]
    file.write_text(out)  # classified again: what was said the first time stays, too
    again, last = map(json.loads, lookright(capsys, "predict", model, file)[1].splitlines())
    assert again["input"] == {"input": given, "label": one["label"], "score": one["score"]}
    assert last["input"] == {"label": other["label"], "score": other["score"]}


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_of_predict_counts_texts(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    counted: list[int] = []
    asked: list[bool] = []

    def bar(total: int | None, *_: str, shown: bool) -> Any:
        assert total is None
        asked.append(shown)
        return contextlib.nullcontext(counted.append)

    monkeypatch.setattr("lookright.inference.progress.progress_bar", bar)
    command = ["predict", model, data / "train.jsonl", "--out", tmp_path / "out.jsonl", *["--quiet"] * quiet]
    assert main([*map(str, command)]) == 0
    assert (asked, sum(counted)) == ([not quiet], 24)


def test_the_help_of_predict_says_what_a_classifier_writes(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(["predict", "--help"])
    assert "a text classifier writes jsonl only" in " ".join(capsys.readouterr().out.split())


def test_half_a_surrogate_pair_beside_the_text_is_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "a fine film é", "note": "\\ud800"}\n')
    code, out, err = lookright(capsys, "predict", model, file)
    assert code == 0, err
    assert json.loads(out)["note"] == "\ud800"


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs names for pipes")
def test_a_pipe_is_classified_from_its_first_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"text {number} " + "and so on " * 10 for number in range(200)]  # more than a buffer, less than a pipe
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        stream.write("\n".join(texts) + "\n")
    code, out, err = lookright(capsys, "predict", model, f"/dev/fd/{reader}")
    os.close(reader)
    assert code == 0, err
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts


@pytest.mark.slow
def test_ctrl_c_stops_it_while_it_waits_for_a_pipe(model: Path) -> None:
    command = [sys.executable, "-m", "lookright.cli.main", "predict", str(model), "-"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("a fine film\n" * 600)
    process.stdin.flush()
    for _ in range(512):  # a whole chunk, though the pipe stays open
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == "lookright: error: stopped by Ctrl-C; nothing half-written is kept\n"


@pytest.mark.slow
def test_workers_say_the_same(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", model, data / "train.jsonl", "--quiet"]
    alone = [json.loads(line) for line in lookright(capsys, *command)[1].splitlines()]
    shared = [json.loads(line) for line in lookright(capsys, *command, "--workers", "2")[1].splitlines()]
    assert [row["label"] for row in alone] == [row["label"] for row in shared]
    assert [row["score"] for row in alone] == pytest.approx([row["score"] for row in shared], abs=1e-5)


def test_info_and_check(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = lookright(capsys, "info", model)
    assert code == 0
    for words in ("classifier  ", "target      single-label", "labels      bad, good", "pooled by mean"):
        assert words in out
    code, out, _ = lookright(capsys, "info", model, "--json")
    assert json.loads(out)["classifier"]["labels"] == ["bad", "good"]
    code, out, _ = lookright(capsys, "check", data / "train.jsonl", data / "dev.jsonl", "--model", model)
    assert "every text fits" in out
    assert code == 0 or "fail" in out


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs names for pipes")
def test_the_task_of_a_pipe_is_read_from_its_top(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write((data / "train.jsonl").read_bytes())
    code, out, err = lookright(capsys, "check", f"/dev/fd/{reader}", "--json")
    os.close(reader)
    assert (code, err) == (0, "")
    [split] = json.loads(out)["splits"].values()
    assert (split["target"], split["n_texts"]) == ("single-label", 24)


BAD = [
    (["train", "--train", "{data}/one.jsonl"], "every text of train has the label 'x'"),
    (
        ["train", "--train", "{data}/other.key.jsonl"],
        "without tags; expected one tag per word (whole texts: --task text",
    ),
    (
        ["train", "--train", "{data}/none.txt"],
        "expected a word and a tag with a tab or spaces between them (a table of",
    ),
    (["train", "--train", "{data}/none.csv"], "no 'label' or 'labels' here, only 'text', 'topic'"),
    (["train", "--train", "{data}/train.jsonl", "--dev", "{data}/other.jsonl"], "dev has none of the classifier's"),
    (["train", "--train", "{data}/train.jsonl", "--subword", "first"], "subword is given, which is for --task tags"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write(data / "one.jsonl", [("a", "x"), ("b", "x")])
    write(data / "other.jsonl", [("a", "x"), ("b", "y")])
    for name in ("none.csv", "none.txt"):
        (data / name).write_text("text,topic\na,b\n")
    (data / "other.key.jsonl").write_text('{"text": "a", "category": "b"}\n')
    command = [part.format(data=data) for part in arguments]
    code, out, err = lookright(capsys, *command, "--base", tiny_llama, "--out", tmp_path / "out", "--quiet")
    assert code in (1, 2)
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes streams")
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_closed_stdout_is_said_in_one_line(data: Path, model: Path, command: str) -> None:
    line = f'exec "{sys.executable}" -m lookright.cli.main {command} "{model}" "{data}/dev.jsonl" --quiet >&-'
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "lookright: error: standard output is closed, and the result has no other place: send it to a file or a pipe"
    )


def test_a_folder_of_the_datasets_package_is_classified(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["it rains", "they won"]}).save_to_disk(tmp_path / "set")
    code, out, err = lookright(capsys, "predict", model, tmp_path / "set", "--quiet")
    assert code == 0, err
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["it rains", "they won"]


def test_what_only_the_other_kind_of_model_takes(
    data: Path, model: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lookright import Tagger

    Tagger.from_pretrained(tiny_llama, labels=["PER"], device="cpu").save_pretrained(tmp_path / "tagger")
    for arguments, words in (
        (["evaluate", tmp_path / "tagger", data / "dev.jsonl", "--plots", tmp_path], "--plots is for text classifiers"),
        (["predict", tmp_path / "tagger", data / "dev.jsonl", "--all-scores"], "is a tagger"),
        (["predict", model, data / "dev.jsonl", "--format", "conll"], "written as jsonl, not conll"),
        (["predict", model, data / "dev.jsonl", "--columns", "0,1"], "columns is given, which is for --task tags"),
        (["evaluate", model, data / "dev.jsonl", "--scheme", "BIO"], "scheme is given, which is for --task tags"),
        (["evaluate", model, data / "dev.jsonl", "--convention", "conlleval"], "--convention is for taggers"),
        (["predict", tmp_path / "tagger", data / "dev.jsonl", "--text-column", "x"], "is for --task text"),
        (["predict", model, data, "--out", tmp_path / "labeled"], "give it the files of a folder one by one"),
    ):
        code, _, err = lookright(capsys, *arguments)
        assert code == 2
        assert words in err


def test_search_and_plan_auto(data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"body": text, "topic": label} for text, label in toys.toy_texts(40, 0)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: list[Any] = ["--base", tiny_llama, "--train", tmp_path / "train.jsonl", "--dev", "0.5", "--epochs", "1"]
    given += ["--test", data / "test.csv", "--text-column", "body", "--label-column", "topic", "--device", "cpu"]
    odd = tmp_path / "odd.csv"
    odd.write_text("body,topic\nfine,odd\n")
    code, _, err = lookright(capsys, "search", *given, "--test", odd, "--out", tmp_path / "none")
    assert (code, "test has none of the classifier's labels" in err, (tmp_path / "none").exists()) == (1, True, False)
    code, out, err = lookright(capsys, "search", *given, "--plans", "0000", "1111", "--out", tmp_path / "a", "--json")
    assert code == 0, err
    account = json.loads(out)
    assert (account["dev"]["score"], account["test"]["headline"]) == ("accuracy", "accuracy")
    assert "saved to" in err
    assert "the text classifier, report.md" in err
    again = ["search", *given, "--plans", "0000", "1111", "--out", tmp_path / "a", "--resume"]
    assert lookright(capsys, *again)[0] == 0
    code, _, err = lookright(capsys, *again, "--pooling", "last")
    assert (code, 'pooling was "mean" and is "last" now' in err) == (2, True)
    code, out, err = lookright(capsys, "predict", tmp_path / "a", data / "dev.jsonl")
    assert (code, len(out.splitlines())) == (0, 10)
    code, out, err = lookright(capsys, "train", *given, "--plan", "auto", "--dry-run")
    assert code == 0, err
    assert 'plan = "auto"' in out
    assert 'pooling = "mean"' in out
    code, out, err = lookright(capsys, "train", *given, "--plan", "auto", "--out", tmp_path / "b", "--quiet")
    assert code == 0, err
    assert json.loads((tmp_path / "b" / "report.json").read_text())["n_plans"] == 16
    assert "accuracy" in (tmp_path / "b" / "README.md").read_text()


def test_compare(data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = toys.toy_texts(10, 2)
    said = write(tmp_path / "said.jsonl", rows)
    said.write_text(said.read_text().replace('"text"', '"body"'))
    given = ["compare", model, said, "--test", data / "test.csv", "--text-column", "body", "--label-column", "topic"]
    code, out, err = lookright(capsys, *given, "--samples", "100", "--show", "1")
    assert code == 0, err
    assert "accuracy, x 100, on 10 texts of" in out
    assert "F1 of each label" in out
    right = int(out.split("said.jsonl alone")[0].rsplit(",", 1)[1].split()[0])
    assert f"{right} of 10 texts are classified differently: 0 right in model alone" in out
    assert (
        f"\ntext {json.loads(lookright(capsys, *given, '--format', 'jsonl')[1].splitlines()[1])['index'] + 1}, line"
        in out
    )
    page = lookright(capsys, *given, "--format", "html")[1]
    assert page.count("<section") == right + 1
    assert "<b>good</b>" in page
    other = write(tmp_path / "other.jsonl", [(text, "good") for text, _ in rows])
    other.write_text(other.read_text().replace('"text"', '"body"'))
    code, out, err = lookright(capsys, "compare", said, other, *given[3:], "--samples", "100", "--show", "0")
    assert (code, "right in said.jsonl alone, 0 in other.jsonl alone" in out) == (0, True)
    code, out, err = lookright(capsys, "compare", model, data / "test.csv", "--test", data / "test.csv")
    assert (code, "no 'text' here" in err) == (1, True)
