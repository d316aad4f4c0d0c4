from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.data import Dataset, Sentence, iter_conll, parse_columns, read_conll, write_conll
from lookright.errors import DataError, OutputError, SchemeError
from lookright.tags import Scheme

from . import strategies as own


def read(tmp_path, content, **options):
    file = tmp_path / "f.conll"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_conll(file, **options)


def flat(dataset):
    return [list(zip(s.words, s.tags, strict=True)) for s in dataset]


AB = [[("a", "O"), ("b", "B-X")], [("c", "O")]]


@pytest.mark.parametrize(
    "content",
    [
        "a\tO\nb\tB-X\n\nc\tO\n",
        "a\tO\nb\tB-X\n\nc\tO",  # no last newline
        "a O\nb B-X\n\nc O\n",
        "a   O \nb  B-X\n\nc O\n",
        "a\tO\r\nb\tB-X\r\n\r\nc\tO\r\n",
        "a\tO\r\nb\tB-X\r\n\r\nc\tO\r",
        "\ufeffa\tO\nb\tB-X\n\nc\tO\n",
        "\n\n \na\tO\nb\tB-X\n\t\n \t \n\nc\tO\n\n\n",
        "# a comment\n# id 7\na\tO\nb\tB-X\n\n# text = c d\nc\tO\n",
        "# id 5239d808\tdomain=en\na O\nb B-X\n\n# id 1\tdomain=en\nc O\n",
        "a\tO\n# in the middle\nb\tB-X\n\nc\tO\n",
        "a\tO\t\nb\tB-X\n\nc\tO\t\t\n",
        gzip.compress(b"a\tO\nb\tB-X\n\nc\tO\n"),
    ],
)
def test_spellings_of_the_same_file(tmp_path, content):
    assert flat(read(tmp_path, content)) == AB


def test_columns_are_chosen_by_index_from_either_end(tmp_path):
    content = "U.N. NNP I-NP I-ORG\nofficial NN I-NP O\n"
    assert read(tmp_path, content)[0].tags == ("I-ORG", "O")
    assert read(tmp_path, content, columns=(0, 1))[0].tags == ("NNP", "NN")
    assert read(tmp_path, content, columns=(0, -2))[0].tags == ("I-NP", "I-NP")
    assert read(tmp_path, content, columns=(1, 0))[0].words == ("NNP", "NN")
    assert read(tmp_path, content, columns=(0, None))[0].tags is None
    assert read(tmp_path, "a\nb\n\nc\n", columns=(0, None)).scheme is None
    for columns in ((4, -1), (0, -5)):
        with pytest.raises(DataError, match=r"f.conll:1: no column -?\d: this row has 4 columns"):
            read(tmp_path, content, columns=columns)
    with pytest.raises(DataError, match="word and tag are both column 3 of 4"):
        read(tmp_path, content, columns=(3, -1))
    assert parse_columns("0,3") == (0, 3)
    assert parse_columns(" 1, -1") == (1, -1)
    assert parse_columns("0") == (0, None)
    for wrong in ("", "a", "0,1,2", "0;1", "1.5"):
        with pytest.raises(DataError, match="expected the word's and the tag's column"):
            parse_columns(wrong)


@pytest.mark.parametrize(
    "border",
    [
        "-DOCSTART- -X- -X- O\n\n",
        "-DOCSTART- -X- O O\n",
        "-DOCSTART- (1)\n\n",
        "-DOCSTART-(2)\n",
        "-DOCSTART-\n\n",
        "-docstart- O\n\n",
        "-DOCSTART-\tO\n\n",
        "# newdoc\n",
        "# newdoc id = 3\n",
        "-DOCSTART-\tO\n\n-DOCSTART-\tO\n\n",
    ],
)
@pytest.mark.parametrize("rows", [("a O\n", "b O\n", "c O\n"), ("a\tx\tO\n", "b\tx\tO\n", "c\tx\tO\n")])
def test_document_borders_in_all_spellings(tmp_path, border, rows):
    first, second, third = rows
    dataset = read(tmp_path, f"{border}{first}\n{second}\n{border}{third}")
    assert [s.words for s in dataset] == [("a",), ("b",), ("c",)]
    assert dataset.document_starts == (0, 2)
    gap = "\n" if border.startswith("#") else ""  # a comment stands before a sentence, not in one
    later = read(tmp_path, f"{first}{gap}{border}{second}\n{third}")
    assert [s.words for s in later] == [("a",), ("b",), ("c",)]
    assert later.document_starts == (0, 1)


def test_words_that_look_like_other_things_stay_words(tmp_path):
    dataset = read(tmp_path, "the O\n# I-NP\n500 I-NP\n\n# B-NP\nx O\n")
    assert dataset[0].words == ("the", "#", "500")
    assert dataset[1].words == ("#", "x")
    dataset = read(tmp_path, "#\tO\n#tag\tO\n\n# 5\tO\n-DOC-\tO\n-DOCSTART-x\tO\n")
    assert [s.words for s in dataset] == [("#", "#tag"), ("# 5", "-DOC-", "-DOCSTART-x")]


def test_odd_characters_survive(tmp_path):
    words = ("\ufe0f", "a\u00a0b", "c\u2028d", "\u0085", "\u00a0", "e f", "\r", "\u200d\u0301", "\x0c")
    dataset = read(tmp_path, "".join(f"{word}\tO\n" for word in words))
    assert dataset[0].words == words
    spaces = tuple(word for word in words if " " not in word)
    assert read(tmp_path, "".join(f"{word} O\n" for word in spaces))[0].words == spaces


CONLLU = """# newdoc id = d1
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3\tal mar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No
3.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_

#comment without a blank
# newdoc
1\tsí\tsí\tINTJ\t_\t_\t0\troot\t_\t_
"""


def test_conllu_skips_ranges_and_empty_nodes(tmp_path):
    dataset = read(tmp_path, CONLLU)
    assert flat(dataset) == [[("vamos", "VERB"), ("nos", "PRON"), ("al mar", "NOUN")], [("sí", "INTJ")]]
    assert dataset.document_starts == (0, 1)
    assert dataset.scheme is Scheme.PLAIN
    assert "FORM" in dataset.note("columns").message
    assert read(tmp_path, CONLLU, columns=(2, 7))[0].tags == ("root", "obj", "obl")
    with pytest.raises(DataError, match=r"f.conll:3: 'x' in the first column, expected a CoNLL-U word number"):
        read(tmp_path, "1" + "\ta" * 9 + "\n\nx" + "\ta" * 9 + "\n")


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "the file is empty"),
        (b"\n \n\t\n", None, "no sentence in the file"),
        (b"# id 3\n# comments = here\n", None, "no sentence in the file"),
        (b"-DOCSTART-\tO\n\n", None, "no sentence in the file"),
        (b"a\tO\nb\n", 2, r"one column \('b'\), expected a word and a tag"),
        (b"word\n", 1, r"one column \('word'\)"),
        (b"a O\nb\n", 2, "one column"),
        (b"a O\n#hashtag\n", 2, "one column"),
        (b"a\tO\nb\tc\tO\n", 2, "3 columns, expected 2 between tabs as in line 1"),
        (b"a b O\nc O\n", 2, "2 columns, expected 3 between spaces as in line 1"),
        (b"a O\nb\tO\n", 2, "this line has tabs"),
        (b"a\tO\n\tO\n", 2, "the word is empty"),
        (b"a\tO\n  \tO\n", 2, "the word is empty"),
        (b"a\tO\nb\t\n", 2, "the tag of 'b' is empty"),
        (b"a\tO\nb\t \t\n", 2, "the tag of 'b' is empty"),
        (b"a\tO\nb\xff\tO\n", 2, "not UTF-8 at byte 5 .byte 1 of the line is 0xff"),
        (b"\xef\xbb\xbfa\tO\nb\xe4\tO\n", 2, "not UTF-8 at byte 8 .byte 1 of the line"),
        (b"a\tO\nb\0\tO\n", 2, "a NUL at byte 5: a binary file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None, "a binary file"),
        ("a\tO\n".encode("utf-16"), 1, "UTF-16 text, expected UTF-8"),
        (gzip.compress(b"a\tO\n" * 100)[:-20], None, "a damaged gzip file"),
        (b"\x1f\x8bnonsense", None, "a damaged gzip file"),
    ],
)
def test_malformed_files_name_the_place(tmp_path, content, line, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    file = tmp_path / "f.conll"
    assert (caught.value.path, caught.value.line) == (str(file), line)
    assert str(caught.value).startswith(f"{file}: " if line is None else f"{file}:{line}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_directories_and_unknown_schemes(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_conll(tmp_path / "none.conll")
    with pytest.raises(DataError, match="this is a directory, expected a file"):
        read_conll(tmp_path)
    with pytest.raises(DataError, match="not a file name"):
        read_conll("a\0b")
    with pytest.raises(SchemeError, match="unknown scheme"):
        read(tmp_path, "a O\n", scheme="BIOX")


def test_ill_formed_tags_are_listed_with_their_line_and_repaired_only_when_asked(tmp_path):
    content = "# c\na\tO\n# c\nb\tI-X\n\nc\tB-X\nd\tI-Y\n"
    dataset = read(tmp_path, content, scheme="BIO")
    note = dataset.note("ill-formed")
    assert [place.line for place in note.places] == [4, 7]
    assert note.count == 2
    assert f"{tmp_path / 'f.conll'}:4: I-X on 'b'" in note.message
    assert dataset[0].tags == ("O", "I-X")
    repaired = read(tmp_path, content, scheme="BIO", repair=True)
    assert [s.tags for s in repaired] == [("O", "B-X"), ("B-X", "B-Y")]
    assert repaired.note("ill-formed").count == 2
    with pytest.raises(SchemeError, match=r"f.conll:1: cannot be repaired"):
        read(tmp_path, "a\tNOUN\n", scheme="BIO", repair=True)


def test_the_scheme_is_found_said_and_overridable(tmp_path):
    dataset = read(tmp_path, "a\tB-X\nb\tE-X\n\nc\tS-Y\n")
    assert dataset.scheme is Scheme.IOBES
    assert dataset.note("scheme").message.startswith("scheme IOBES, found from the tags")
    given_scheme = read(tmp_path, "a\tB-X\nb\tI-X\n", scheme="iob1")
    assert given_scheme.scheme is Scheme.IOB1
    assert given_scheme.note("scheme").message == "scheme IOB1, as given"


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_what_is_written_is_read_back(tmp_path_factory, data):
    scheme = data.draw(st.sampled_from(own.SPAN_SCHEMES))
    dataset = data.draw(own.datasets(own.tagged_sentences(scheme, own.any_words), scheme))
    file = tmp_path_factory.mktemp("conll") / "f.conll"
    if any(not word.strip(" ") or word.startswith(("-DOCSTART-", "# ")) for s in dataset for word in s.words):
        return  # words that the format may not hold: the next tests
    write_conll(dataset, file)
    again = read_conll(file, scheme=scheme)
    assert own.bare(again) == own.bare(dataset)
    assert again.document_starts == dataset.document_starts


def test_plain_ends_and_starts_survive_writing(tmp_path):
    dataset = Dataset([Sentence(("\ufeffa", "b"), ("O", "O")), Sentence(("-",), ("O",))])
    write_conll(dataset, tmp_path / "f.conll")
    assert own.bare(read_conll(tmp_path / "f.conll")) == own.bare(dataset)
    write_conll(dataset, tmp_path / "f.conll.gz")
    assert (tmp_path / "f.conll.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert own.bare(read_conll(tmp_path / "f.conll.gz")) == own.bare(dataset)


@pytest.mark.parametrize(
    "sentence",
    [
        Sentence(("a",)),
        Sentence(("a\tb",), ("O",)),
        Sentence(("a\nb",), ("O",)),
        Sentence((" ",), ("O",)),
        Sentence(("-DOCSTART-",), ("O",)),
        Sentence(("# id = 3",), ("O",)),
        Sentence(("a",), ("B-X\r",)),
        Sentence(("a",), (" O",)),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path, sentence):
    file = tmp_path / "f.conll"
    file.write_text("old")
    with pytest.raises(DataError, match="cannot be written as CoNLL"):
        write_conll([Sentence(("fine",), ("O",)), sentence], file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_places_that_cannot_be_written(tmp_path):
    sentences = [Sentence(("a",), ("O",))]
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "none" / "f", tmp_path / "file" / "f"):
        with pytest.raises(OutputError, match=r"cannot be written|this is a directory"):
            write_conll(sentences, target)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    sentences = [Sentence(("a",), ("O",))]
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="cannot be written: No space left on device"):
            write_conll(sentences, "/dev/full")
    file = tmp_path / "f.conll"
    file.write_text("old")

    def stream():
        yield sentences[0]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"f.conll: cannot be written: No space left"):
        write_conll(stream(), file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_who_reads_the_old_file_meanwhile_sees_it_whole(tmp_path):
    file = tmp_path / "f.conll"
    file.write_text("old")
    with file.open() as reader:
        write_conll([Sentence(("a",), ("O",))], file)
        assert reader.read() == "old"
    assert file.read_text() == "a\tO\n\n"


def test_devices_are_written_to_and_links_stay(tmp_path):
    sentences = [Sentence(("a",), ("O",))]
    write_conll(sentences, os.devnull)
    assert not Path(os.devnull).is_file()
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_conll(sentences, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "a\tO\n\n"


def test_reading_is_streaming(tmp_path):
    file = tmp_path / "f.conll"
    file.write_bytes(b"a\tO\n\n" * 3 + b"broken\n")
    stream = iter_conll(file)
    assert [next(stream).sentence.line for _ in range(3)] == [1, 3, 5]
    with pytest.raises(DataError, match=r"f.conll:7: one column"):
        next(stream)


def test_a_sentence_of_100_000_words_and_a_word_of_300_000_letters(tmp_path):
    dataset = read(tmp_path, "a\tO\n" * 100_000 + "\n" + "b" * 300_000 + "\tO\n")
    assert [len(dataset[0].words), len(dataset[1].words[0])] == [100_000, 300_000]
