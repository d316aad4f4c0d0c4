"""`lookright predict` as a stream: order, other keys, pools, pipes, folders, and the same bytes however it runs."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import toys

COMMAND = [sys.executable, "-m", "lookright.cli.main", "predict"]


def lines_of(n: int, seed: int = 0) -> list[str]:
    return [" ".join(words) for words, _ in toys.toy_dataset(n, seed)]


def records_of(n: int, seed: int = 0) -> str:
    return "".join(json.dumps({"id": i, "text": line}) + "\n" for i, line in enumerate(lines_of(n, seed)))


# --------------------------------------------------------------------------------------------------------- JSON Lines


def test_other_keys_of_a_record_stay(files: Path, tmp_path: Path, run: Any) -> None:
    records = [
        {"id": 7, "text": "They live in Paris .", "meta": {"source": ["é", None, 1.5]}, "label": "travel"},
        {
            "text": "Zagreb",
            "id": 8,
            "entities": [[0, 6, "LOC"]],
            "spans": [],
            "label": "sport",
            "tokens": ["Zag", "reb"],
        },
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = run("predict", files / "tagger", tmp_path / "in.jsonl")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert list(first) == ["id", "text", "meta", "label", "spans"]
    assert {key: first[key] for key in ("id", "text", "meta", "label")} == records[0]
    # Gold gives way to the prediction; words that are not the tagger's own are another key like any other.
    assert list(second) == ["text", "id", "label", "tokens", "spans"]
    assert second["tokens"] == ["Zag", "reb"]


def test_other_keys_stay_beside_given_words(files: Path, tmp_path: Path, run: Any) -> None:
    records = [
        {"words": ["They", "live", "in", "Paris", "."], "ner_tags": ["O"] * 5, "doc_id": "x", "n": 1},
        {"words": ["Zagreb", "."], "text": "Zagreb.", "ner_tags": ["O"] * 2, "doc_id": "y", "upos": ["A", "B"]},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    first, second = map(json.loads, run("predict", files / "tagger", tmp_path / "in.jsonl").out.splitlines())
    assert list(first) == ["doc_id", "n", "text", "spans", "tokens", "tags"]
    assert first["tokens"] == records[0]["words"]
    assert list(second) == ["text", "doc_id", "spans", "tokens", "tags"]
    assert (second["text"], second["tokens"]) == ("Zagreb.", ["Zagreb", "."])
    assert len(second["tags"]) == 2


def test_what_other_keys_hold_is_written_as_json_or_refused(files: Path, tmp_path: Path, run: Any, fails: Any) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "Zagreb", "half": "\\ud83d"}\n')
    assert json.loads(run("predict", files / "tagger", tmp_path / "in.jsonl").out)["half"] == "\ud83d"
    (tmp_path / "in.jsonl").write_text('{"text": "Zagreb", "huge": 1e999}\n')
    assert "in.jsonl:1: a number that JSON cannot hold" in fails("predict", files / "tagger", tmp_path / "in.jsonl").err


# -------------------------------------------------------------------------------------------------------------- stream


def test_many_chunks_keep_the_order(files: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookright.inference.labeler.PIPED_SENTENCES", 16)
    (tmp_path / "in.txt").write_text("\n".join(lines_of(200)) + "\n")
    whole = run("predict", files / "tagger", tmp_path / "in.txt")
    cut = run("predict", files / "tagger", tmp_path / "in.txt", "--token-budget", "8")
    for done in (whole, cut):
        assert [json.loads(line)["text"] for line in done.out.splitlines()] == lines_of(200)
    for one, other in zip(whole.out.splitlines(), cut.out.splitlines(), strict=True):
        left, right = json.loads(one)["spans"], json.loads(other)["spans"]
        assert [span["score"] for span in left] == pytest.approx([span["score"] for span in right], abs=2e-4)
        assert [{**span, "score": 0} for span in left] == [{**span, "score": 0} for span in right]


def test_a_bad_line_is_one_error_after_what_was_good(
    files: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookright.inference.labeler.PIPED_SENTENCES", 16)
    (tmp_path / "in.jsonl").write_text(records_of(40) + "{oops\n" + records_of(5))
    done = run("predict", files / "tagger", tmp_path / "in.jsonl", "--token-budget", "8", "--quiet")
    assert done.code == 1
    assert done.err.startswith(f"lookright: error: {tmp_path}/in.jsonl:41: not JSON")
    assert done.err.count("\n") == 1
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == list(range(32))
    done = run("predict", files / "tagger", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert done.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_formats_of_many_chunks_are_one_document(
    files: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.conll").write_text("\n".join(f"\ufeffword{n} O\nnext O\n" for n in range(30)))
    whole = {
        form: run("predict", files / "tagger", tmp_path / "in.conll", "--format", form).out
        for form in ("conll", "html", "terminal")
    }
    monkeypatch.setattr("lookright.inference.labeler.PIPED_SENTENCES", 4)
    for form, expected in whole.items():
        done = run("predict", files / "tagger", tmp_path / "in.conll", "--format", form, "--token-budget", "2")
        assert done.out == expected, form
    assert whole["html"].count("<!doctype") == whole["html"].count("</html>") == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_workers_are_counted_from_one(files: Path, fails: Any, value: str) -> None:
    assert "a whole number from 1 on" in fails("predict", files / "tagger", "x", f"--workers={value}", code=2).err


@pytest.mark.slow
def test_workers_write_the_same_bytes(files: Path, tmp_path: Path, run: Any) -> None:
    (tmp_path / "in.jsonl").write_text(records_of(2_000))
    more = ("--token-budget", "64")
    one = run("predict", files / "tagger", tmp_path / "in.jsonl", *more)
    two = run("predict", files / "tagger", tmp_path / "in.jsonl", *more, "--workers", "2")
    assert (two.code, two.out) == (0, one.out)
    (tmp_path / "in.jsonl").write_text(records_of(2_000) + "[]\n")
    bad = run("predict", files / "tagger", tmp_path / "in.jsonl", *more, "--workers", "2", "--quiet")
    assert bad.code == 1
    assert bad.err.count("\n") == 1
    assert "in.jsonl:2001: JSON list" in bad.err
    assert one.out.startswith(bad.out)


@pytest.mark.slow
def test_memory_is_flat(files: Path, tmp_path: Path) -> None:
    """What ten times as many sentences need more."""
    peaks = []
    code = "import resource, sys; from lookright.cli.main import main; assert main(sys.argv[1:]) == 0; "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    for n in (6_000, 60_000):
        text = ("\n".join(lines_of(300)) + "\n") * (n // 300)
        (tmp_path / "in.txt").write_text(text)
        command = [sys.executable, "-c", code, "predict", str(files / "tagger"), str(tmp_path / "in.txt"), "--quiet"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 60 * 1024, peaks


# ----------------------------------------------------------------------------------------------- pipes and keyboards


def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly(files: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(lines_of(20_000)) + "\n")
    process = start(files / "tagger", tmp_path / "in.txt", "--format", "jsonl")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr.read() == b""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_it_while_it_waits_for_a_pipe(files: Path, workers: int) -> None:
    process = start(files / "tagger", "-", "--format", "jsonl", "--workers", workers)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(("\n".join(lines_of(600)) + "\n").encode())
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(512)]  # a whole chunk, though the pipe stays open
    assert json.loads(lines[-1])["text"] == lines_of(600)[511]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert process.stderr.read().decode() == ("lookright: error: stopped by Ctrl-C; nothing half-written is kept\n")


@pytest.mark.slow
def test_a_keyboard_gets_its_answer_line_by_line(files: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, str(files / "tagger"), "--format", "jsonl"], stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    assert process.stdout is not None
    for text in ("Zagreb is nice.", "They live in Paris ."):
        os.write(ours, f"{text}\n".encode())
        ready, _, _ = select.select([process.stdout], [], [], 120)
        assert ready, "no answer before the next line"
        assert json.loads(process.stdout.readline())["text"] == text
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    os.close(ours)


# ------------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two JSON Lines files, one of them in a folder below, an empty one, and what is no data."""
    source = tmp_path / "in"
    (source / "below").mkdir(parents=True)
    (source / "one.jsonl").write_text(records_of(30))
    (source / "below" / "two.jsonl").write_text(records_of(20, 1))
    (source / "empty.jsonl").touch()
    (source / "_SUCCESS").touch()
    (source / "README.txt").write_text("no data\n")
    return source


def labeled(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


def test_a_folder_is_labeled_file_by_file(files: Path, folder: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out"
    done = run("predict", files / "tagger", folder, "--out", out)
    assert (done.code, done.out) == (0, "")
    assert "left aside: 1 files" in done.err
    found = labeled(out)
    assert set(found) == {"one.jsonl", "below/two.jsonl", "empty.jsonl"}
    for name in ("one.jsonl", "below/two.jsonl"):
        assert run("predict", files / "tagger", folder / name).out.encode() == found[name]
    assert found["empty.jsonl"] == b""


def test_finished_files_are_not_done_again(files: Path, folder: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out"
    assert run("predict", files / "tagger", folder, "--out", out).code == 0
    (out / "one.jsonl").write_text("kept\n")
    (out / "below" / "two.jsonl").unlink()
    done = run("predict", files / "tagger", folder, "--out", out)
    assert "done already: 2 files" in done.err
    assert (out / "one.jsonl").read_text() == "kept\n"
    assert len((out / "below" / "two.jsonl").read_text().splitlines()) == 20
    time.sleep(0.01)
    (folder / "one.jsonl").write_text(records_of(3))  # newer than its result
    run("predict", files / "tagger", folder, "--out", out)
    assert len((out / "one.jsonl").read_text().splitlines()) == 3


def test_a_bad_file_does_not_keep_the_others_from_being_done(
    files: Path, folder: Path, tmp_path: Path, run: Any, fails: Any
) -> None:
    (folder / "bad.jsonl").write_text(records_of(3) + "{oops\n")
    error = fails("predict", files / "tagger", folder, "--out", tmp_path / "out").err
    assert "bad.jsonl:4: not JSON" in error
    assert "the rest is done" in error
    assert set(labeled(tmp_path / "out")) == {"one.jsonl", "below/two.jsonl", "empty.jsonl"}
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == [".lookright-predict.json"]
    (folder / "worse.jsonl").write_text("{oops\n")
    said = run("predict", files / "tagger", folder, "--out", tmp_path / "out").err  # each of them is named
    assert "bad.jsonl:4: not JSON" in said
    assert "worse.jsonl:1: not JSON" in said


def test_output_folders_of_others_are_refused(files: Path, folder: Path, tmp_path: Path, run: Any, fails: Any) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    assert "holds something else" in fails("predict", files / "tagger", folder, "--out", tmp_path / "other").err
    assert "lie in one another" in fails("predict", files / "tagger", folder, "--out", folder / "out").err
    assert run("predict", files / "tagger", folder, "--out", tmp_path / "out").code == 0
    again = fails("predict", files / "tagger", folder, "--out", tmp_path / "out", "--precision", "bfloat16")
    assert "another model or precision" in again.err


def test_folders_need_a_folder_and_files(files: Path, folder: Path, tmp_path: Path, fails: Any) -> None:
    assert "--out DIR" in fails("predict", files / "tagger", folder, code=2).err
    assert (
        "written as they are read"
        in fails("predict", files / "tagger", folder, "--out", tmp_path / "o", "--format", "html", code=2).err
    )
    one = folder / "one.jsonl"
    assert "and this is none" in fails("predict", files / "tagger", one, "--engine", "ray", code=2).err
    (tmp_path / "bare").mkdir()
    assert "in this folder" in fails("predict", files / "tagger", tmp_path / "bare", "--out", tmp_path / "o").err


def test_parquet_keeps_its_columns_and_says_what_json_lines_say(
    files: Path, tmp_path: Path, run: Any, fails: Any
) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    n = 2_500  # more than one batch
    lines = [line or "x" for line in lines_of(300)] * 9
    table = pa.table({
        "when": pa.array(range(n), pa.timestamp("ns", tz="UTC")),
        "text": lines[:n],
        "spans": pa.array([[]] * n, pa.list_(pa.int8())),
        "kind": pa.array(["a", "b"] * (n // 2)).dictionary_encode(),
    })  # fmt: skip
    parquet.write_table(table, source / "texts.parquet")
    words = pa.table({"words": [line.split() for line in lines[:50]], "ner_tags": [["O"]] * 50, "id": range(50)})
    parquet.write_table(words, source / "words.parquet")
    parquet.write_table(table.slice(0, 0), source / "none.parquet")
    (source / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines[:n]))
    (source / "words.jsonl").write_text("".join(json.dumps({"tokens": line.split()}) + "\n" for line in lines[:50]))
    done = run("predict", files / "tagger", source, "--out", out)
    assert done.code == 0, done.err
    texts = parquet.read_table(out / "texts.parquet")
    assert texts.schema.names == ["when", "text", "kind", "spans"]
    assert texts.select(["when", "kind"]).equals(table.select(["when", "kind"]))
    records = [json.loads(line) for line in (out / "texts.jsonl").read_text().splitlines()]
    assert texts.select(["text", "spans"]).to_pylist() == records
    tagged = parquet.read_table(out / "words.parquet")
    assert tagged.schema.names == ["id", "text", "spans", "tokens", "tags"]
    records = [json.loads(line) for line in (out / "words.jsonl").read_text().splitlines()]
    assert tagged.drop_columns("id").to_pylist() == [
        dict(sorted(r.items(), key=lambda kv: kv[0] != "text")) for r in records
    ]
    assert parquet.read_metadata(out / "none.parquet").num_rows == 0
    (source / "torn.parquet").write_bytes((source / "texts.parquet").read_bytes()[:5000])
    assert "torn.parquet: not a whole Parquet file" in fails("predict", files / "tagger", source, "--out", out).err
