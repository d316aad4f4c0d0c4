from __future__ import annotations

import json

import pytest

from lookright.data import check_files, name_splits, sample


def files(tmp_path, **contents):
    paths = {}
    for name, content in contents.items():
        paths[name] = tmp_path / f"{name}.conll"
        paths[name].write_text(content)
    return paths


def found(report, kind, level=None):
    return [item for item in report.items if item.kind == kind and level in (None, item.level)]


ROW = "Ana\tB-PER\nis\tO\nhere{n}\tO\n\n"
GOOD = "".join(ROW.format(n=n) for n in range(20))


def test_good_files_are_good(tmp_path):
    later = "".join(ROW.format(n=n) for n in range(20, 25))
    report = check_files(files(tmp_path, train=GOOD, dev=later))
    assert {item.level for item in report.items} == {"good"}
    assert report.exit_code == 0
    assert report.lines()[-1].endswith("0 warn, 0 fail")
    stats = report.splits["train"]
    assert (stats.n_sentences, stats.n_words, stats.n_spans, stats.scheme) == (20, 60, 20, "IOB2")
    (row,) = report.labels
    assert (row.label, dict(row.counts), row.examples) == ("PER", {"train": 20, "dev": 5}, ("Ana",))


def test_the_bundled_sample_passes():
    report = check_files(sample())
    assert report.exit_code == 0
    assert [row.label for row in report.labels][:2] == ["person", "location"]
    assert report.labels[0].counts == {"train": 660, "dev": 470, "test": 429}
    assert "Justin Bieber" in report.labels[0].examples


def test_ill_formed_tags_fail_with_their_lines_and_only_warn_when_repaired(tmp_path):
    paths = files(tmp_path, train=GOOD + "a\tO\nb\tI-PER\n")
    (item,) = found(check_files(paths), "ill-formed")
    assert item.level == "fail"
    assert item.details[0].startswith(f"{paths['train']}:82: I-PER on 'b'")
    (item,) = found(check_files(paths, repair=True), "ill-formed")
    assert item.level == "warn"
    assert check_files(paths, repair=True).exit_code == 0


def test_spans_off_word_borders_are_all_listed(tmp_path):
    file = tmp_path / "train.jsonl"
    records = [{"text": "Zagreb", "label": [[0, 6, "LOC"]]}] * 12 + [{"text": "Zagreb!", "label": [[0, 3, "LOC"]]}] * 8
    file.write_text("\n".join(map(json.dumps, records)))
    report = check_files([file])
    (item,) = found(report, "unaligned")
    assert item.level == "fail"
    assert len(item.details) == 8
    assert item.details[0] == f"{file}:13: 'Zag' (LOC, characters 0 to 3) cuts a word: dropped"
    assert "        and 3 more (--json lists all)" in report.lines()
    (item,) = found(check_files([file], unaligned="snap"), "unaligned")
    assert item.level == "warn"
    assert "8 snapped" in item.message


def test_duplicates_and_contradictions(tmp_path):
    again = "a\tO\n\n" * 3 + "a\tB-PER\n\n"
    (item,) = found(check_files(files(tmp_path, train=GOOD + again)), "duplicates")
    assert item.level == "warn"
    assert item.message == "train: 3 repeated sentences (12.5%)"
    (item,) = found(check_files(files(tmp_path, train=GOOD + again)), "contradictions")
    assert item.details == (f"{tmp_path / 'train.conll'}:87: 'a' (first in line 81)",)


@pytest.mark.parametrize(("shared", "level"), [(0, "good"), (1, "warn"), (8, "fail")])
def test_overlap_between_splits(tmp_path, shared, level):
    dev = "".join(ROW.format(n=n if n < shared else n + 100) for n in range(20))
    (item,) = found(check_files(files(tmp_path, train=GOOD, dev=dev)), "overlap")
    assert item.level == level
    assert len(item.details) == shared
    (item,) = found(check_files(files(tmp_path, dev=dev, test=dev)), "overlap")
    assert item.level == "fail"


def test_labels_in_one_split_only(tmp_path):
    paths = files(tmp_path, train=GOOD + "x\tB-LOC\n", test="y\tB-ORG\nz\tB-ORG\nAna\tB-PER\n")
    labels = found(check_files(paths), "labels")
    assert [(item.level, item.details) for item in labels] == [("warn", ("ORG: 2",)), ("warn", ("LOC: 1",))]
    (rare,) = found(check_files(paths), "rare")
    assert (rare.level, rare.details) == ("warn", ("LOC: 1",))


def test_no_shared_label_fails_and_lists_both_sets(tmp_path):
    report = check_files(files(tmp_path, train=GOOD, dev="y\tB-ORG\nz\tB-LOC\n"))
    (item,) = found(report, "labels")
    assert item.level == "fail"
    assert item.message == "dev and train share no label: train has PER; dev has LOC, ORG"
    assert report.exit_code == 1


def test_schemes_that_differ_and_no_labels_at_all(tmp_path):
    dev = "Ana\tB-PER\nBo\tE-PER\n\nCy\tS-PER\nx\tO\n"
    (item,) = found(check_files(files(tmp_path, train=GOOD, dev=dev)), "schemes")
    assert item.message.startswith("the files have different schemes: train IOB2, dev IOBES")
    (item,) = found(check_files(files(tmp_path, train="a\tO\n")), "labels")
    assert (item.level, item.message) == ("fail", "train: no word carries a tag other than 'O'")


def test_lengths(tmp_path):
    content = GOOD + "w\tO\n" * 300 + "\n" + "x" * 201 + "\tO\n"
    paths = files(tmp_path, train=content)
    report = check_files(paths, encoder=lambda sentence: 2 * len(sentence), window=512)
    assert found(report, "long-sentence")[0].details == (f"{paths['train']}:81: 300 words",)
    assert "201 characters" in found(report, "long-word")[0].details[0]
    (item,) = found(report, "long-subwords")
    assert (item.level, item.details) == ("warn", (f"{paths['train']}:81: 600 sub-words",))
    assert (report.splits["train"].subwords.median, report.splits["train"].subwords.longest) == (6, 600)
    assert report.splits["train"].words.longest == 300
    (item,) = found(check_files(paths, encoder=len, window=512), "long-subwords")
    assert item.level == "good"


def test_files_that_cannot_be_read_are_items_and_the_others_are_still_checked(tmp_path):
    paths = files(tmp_path, train=GOOD, dev="a\tO\nb\n")
    report = check_files({**paths, "test": tmp_path / "none"})
    first, second = found(report, "read", "fail")
    assert first.message.startswith(f"dev: {paths['dev']}:2: one column")
    assert second.message == f"test: {tmp_path / 'none'}: no such file"
    assert list(report.splits) == ["train"]
    assert report.exit_code == 1
    assert check_files([tmp_path / "none"]).lines()[-1] == "0 good, 0 warn, 1 fail"


def test_untagged_data_and_empty_texts(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text('{"text": "a"}\n{"text": " "}')
    report = check_files([file])
    assert found(report, "counts")[0].level == "fail"
    assert found(report, "empty")[0].details == (f"{file}:2",)


def test_an_unknown_scheme_is_an_item_too(tmp_path):
    report = check_files(files(tmp_path, train=GOOD), scheme="XYZ")
    assert "unknown scheme" in found(report, "read", "fail")[0].message


def test_plain_tags_count_words(tmp_path):
    content = "the\tDET\ncat\tNOUN\nthe\tDET\n\n"
    report = check_files(files(tmp_path, train=content))
    assert [(row.label, row.counts["train"], row.examples) for row in report.labels] == [
        ("DET", 2, ("the",)),
        ("NOUN", 1, ("cat",)),
    ]
    assert report.splits["train"].n_spans == 0


def test_utf16_offsets_are_said(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"text": "😀 Ana", "entities": [[3, 6, "PER"]]}))
    (item,) = found(check_files([file]), "utf-16")
    assert item.level == "warn"


def test_json_holds_everything(tmp_path):
    report = check_files(files(tmp_path, train=GOOD + "b\tI-PER\n"), encoder=len)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["exit_code"] == 1
    assert plain["splits"]["train"]["words"] == {"median": 3, "p95": 3, "longest": 3}
    assert plain["splits"]["train"]["subwords"]["longest"] == 3
    assert plain["labels"][0] == {"label": "PER", "counts": {"train": 21}, "examples": ["Ana", "b"]}
    assert len(plain["items"]) == len(report.items)
    assert set(plain["items"][0]) == {"level", "kind", "message", "details"}


def test_files_are_named_by_their_role():
    assert list(name_splits(["x/test.conll", "dev.txt", "my-train.jsonl"])) == ["train", "dev", "test"]
    assert list(name_splits(["eng.testa", "eng.testb", "eng.train"])) == ["train", "dev", "test"]
    assert list(name_splits(["a.conll", "valid.conll"])) == ["dev", "a.conll"]
    assert list(name_splits(["a/train.conll", "b/train.conll"])) == ["train", "b/train.conll"]
    assert list(name_splits(["train", "train", "train"])) == ["train", "train'", "train''"]
