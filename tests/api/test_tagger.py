"""Tagger: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import toys
from api.conftest import make_tagger
from lookright.api.tagger import Tagger, complete_labels
from lookright.data import Dataset, Document, Sentence, WordSplitter, hold_out
from lookright.errors import DataError, LabelError, ModelFolderError, OutputError, RecipeError, UnsupportedModelError
from lookright.inference.predictor import Span
from lookright.tags import Scheme, convert, to_spans

TEXT = "Angela Merkel 👩‍🚀 met Jose\u0301 Novak.\r\nThey left Zagreb\u00a0on Monday 🇭🇷 — “quoted”."


# -------------------------------------------------------------------------------------------------------- what goes in


def test_one_text_gives_spans_and_a_list_gives_lists(tagger: Tagger) -> None:
    spans = tagger.predict(TEXT)
    assert spans
    assert tagger.predict([TEXT, "", TEXT]) == [spans, [], spans]
    assert tagger.predict((TEXT,)) == [spans]
    assert tagger.predict([]) == []


def test_a_list_of_one_word_texts_is_a_list_of_texts(tagger: Tagger) -> None:
    texts = ["Jordan", "Paris", "smiled"]
    found = tagger.predict(texts)
    assert len(found) == 3
    assert all(_close(spans, tagger.predict(text)) for spans, text in zip(found, texts, strict=True))
    assert all(span.start == 0 and span.word_end == 1 for spans in found for span in spans)


def test_words_are_said_to_be_words(tagger: Tagger) -> None:
    words = ["Angela", "Merkel", "visited", "New York", "."]
    [found] = tagger.predict(words=[words])
    assert found == tagger.predict(Sentence(tuple(words)))
    assert [found] == tagger.predict([Sentence(tuple(words))])
    assert found == tagger.predict(words=words)
    text = " ".join(words)
    assert found
    for span in found:
        assert text[span.start : span.end] == span.text == " ".join(words[span.word_start : span.word_end])
    assert tagger.predict(words=[]) == []
    assert tagger.predict(words=[[]]) == [[]]


def test_documents_and_datasets_are_lists(tagger: Tagger) -> None:
    sentences = tuple(Sentence(tuple(words)) for words, _ in toys.toy_dataset(4))
    expected = tagger.predict(list(sentences))
    assert tagger.predict(Document(sentences)) == tagger.predict(Dataset(sentences)) == expected


@pytest.mark.parametrize(
    ("inputs", "words", "message"),
    [
        (None, None, "either texts or sentences"),
        ("a", [["a"]], "either texts or sentences"),
        (3, None, "got int"),
        (b"abc", None, "got bytes"),
        ({"text": "a"}, None, "got dict"),
        ([["Angela", "Merkel"]], None, r"holds a list.*words=\[\["),
        (["a", Sentence(("b",))], None, "one kind only"),
        (["a", None], None, "holds a NoneType"),
        (None, "Angela Merkel", "words is a str"),
        (None, [["a"], "b"], r"words\[1\] is a str"),
        (None, [["a", ""]], "at least one character"),
        ("half \ud83d", None, "surrogate"),
    ],
)
def test_anything_else_is_refused(tagger: Tagger, inputs: object, words: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tagger.predict(inputs, words=words)  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------------------ what comes out


def test_offsets_count_characters_of_the_given_text(tagger: Tagger) -> None:
    spans = tagger.predict(TEXT)
    assert len(spans) > 3
    for span in spans:
        assert TEXT[span.start : span.end] == span.text
    assert [span.start for span in spans] == sorted(span.start for span in spans)


def test_a_span_is_a_value_and_a_dictionary(tagger: Tagger) -> None:
    span = tagger.predict(TEXT)[0]
    keys = ["type", "start", "end", "text", "score", "word_start", "word_end"]
    assert list(span.to_dict()) == keys
    assert json.loads(json.dumps(span.to_dict())) == {key: getattr(span, key) for key in keys}
    assert 0 < span.score <= 1


def test_streams(tagger: Tagger) -> None:
    words = [Sentence(tuple(words)) for words, _ in toys.toy_dataset(3)]
    found = list(tagger.tag_iter(iter([TEXT, *words])))
    assert [list(tagging.spans) for tagging in found] == [tagger.predict(TEXT), *tagger.predict(words)]


def test_another_word_rule(tiny_llama: Path, tmp_path: Path) -> None:
    text = "Zagreb. (1990-2000)"
    spaced = make_tagger(tiny_llama, word_split="whitespace")
    assert {span.text for span in spaced.predict(text)} <= {"Zagreb.", "(1990-2000)", text}
    folder = spaced.save_pretrained(tmp_path / "t")
    assert Tagger.from_pretrained(folder, device="cpu").predict(text) == spaced.predict(text)

    def letters(text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i, c in enumerate(text) if not c.isspace()]

    own = make_tagger(tiny_llama, word_split=letters)
    assert len(own.tag([WordSplitter(letters).sentence("ab c")])[0].tags) == 3
    loaded = Tagger.from_pretrained(own.save_pretrained(tmp_path / "own"), device="cpu")
    with pytest.raises(DataError, match="callable"):
        loaded.predict(text)
    assert loaded.predict(words=[["ab"]]) == own.predict(words=[["ab"]])
    again = Tagger.from_pretrained(tmp_path / "own", device="cpu", word_split=letters)
    assert again.predict(text) == own.predict(text)


# ------------------------------------------------------------------------------------------------------------- making


def test_labels_are_types_or_the_whole_tag_set() -> None:
    assert complete_labels(["PER", "LOC"], Scheme.IOB2) == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert complete_labels(["B-X", "O", "I-X"], Scheme.IOB2) == ("B-X", "O", "I-X")
    assert complete_labels(["VERB", "NOUN"], Scheme.PLAIN) == ("VERB", "NOUN")
    for bad in ([], "PER"):
        with pytest.raises(LabelError, match="list of span types"):
            complete_labels(bad, Scheme.IOB2)
    with pytest.raises(DataError, match="does not belong to IOB2"):
        complete_labels(["O", "S-X"], Scheme.IOB2)


def test_a_base_without_labels_says_what_to_do(tiny_llama: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, plan="1111", device="cpu")
    assert str(tagger.plan) == "1"
    for call in (
        lambda: tagger.predict("a"),
        lambda: tagger.settings,
        lambda: tagger.save_pretrained("x"),
        tagger.card,
    ):
        with pytest.raises(LabelError, match=r"fit\(\.\.\.\)"):
            call()
    assert not Path("x").exists()


def test_an_encoder_is_a_tagger_too_but_takes_no_plan(tiny_encoder: Path, tmp_path: Path) -> None:
    tagger = make_tagger(tiny_encoder, plan=None)
    assert tagger.plan is None
    spans = tagger.predict(TEXT)
    assert spans
    assert Tagger.from_pretrained(tagger.save_pretrained(tmp_path / "t"), device="cpu").predict(TEXT) == spans
    assert "sees the whole sentence" in tagger.card()
    with pytest.raises(UnsupportedModelError, match="encoder"):
        Tagger.from_pretrained(tiny_encoder, labels=["X"], plan="01", device="cpu")


def test_a_saved_tagger_gives_the_same_answers(tagger: Tagger, tagger_folder: Path) -> None:
    loaded = Tagger.from_pretrained(tagger_folder, device="cpu")
    assert loaded.predict(TEXT) == tagger.predict(TEXT)
    assert loaded.labels == tagger.labels
    assert loaded.plan == tagger.plan
    assert repr(loaded) == "Tagger(LOC, ORG, PER; plan 01; cpu)"


def test_a_saved_tagger_keeps_what_was_decided_when_it_was_made(tagger_folder: Path) -> None:
    with pytest.raises(RecipeError, match="has its own labels, plan"):
        Tagger.from_pretrained(tagger_folder, labels=["X"], plan="1111")
    greedy = Tagger.from_pretrained(tagger_folder, decode="argmax", device="cpu")
    assert greedy.settings.decode == "argmax"


def test_the_window_is_at_most_what_the_base_takes(tiny_encoder: Path, tiny_llama: Path) -> None:
    assert make_tagger(tiny_encoder, plan=None).settings.window == 128
    assert make_tagger(tiny_encoder, plan=None, window=4_000).settings.window == 128
    assert make_tagger(tiny_llama, window=32).settings.window == 32


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="no such folder"):
        Tagger.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        Tagger.from_pretrained(tmp_path)


def test_saving_does_not_replace_something_else(tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        tagger.save_pretrained(tmp_path)


# -------------------------------------------------------------------------------------------------------- evaluating


def test_evaluate_takes_a_dataset_a_path_or_sentences(tagger: Tagger, tmp_path: Path) -> None:
    pairs = toys.toy_dataset(30)
    from_pairs = tagger.evaluate(pairs)
    from_path = tagger.evaluate(toys.write_conll(tmp_path / "test.conll", pairs))
    sentences = [Sentence(tuple(words), tags=tuple(tags)) for words, tags in pairs]
    from_sentences = tagger.evaluate(Dataset(tuple(sentences), scheme=Scheme.IOB2))
    assert from_pairs.to_dict() == from_sentences.to_dict()
    assert from_path.f1 == from_pairs.f1
    assert from_path.data == str(tmp_path / "test.conll")
    assert from_pairs.convention == "strict span F1, IOB2, micro"
    assert from_pairs.scores.n_words == sum(len(words) for words, _ in pairs)


def test_a_perfect_tagger_scores_one_and_long_gold_counts_in_full(tiny_llama: Path) -> None:
    tagger = make_tagger(tiny_llama, window=16)
    words = tuple(word for words, _ in toys.toy_dataset(40) for word in words)
    sentence = Sentence(words)
    [tagging] = tagger.tag([sentence])
    report = tagger.evaluate([sentence.with_tags(tagging.tags)])
    assert report.f1 == 1.0
    assert report.scores.n_words == len(words)
    assert report.scores.counts[0] == len(to_spans(tagging.tags, Scheme.IOB2)) > 10


def test_evaluate_in_another_scheme(tagger: Tagger) -> None:
    pairs = toys.toy_dataset(30)
    bilou = [(words, convert(tags, Scheme.IOB2, Scheme.BILOU)) for words, tags in pairs]
    assert tagger.evaluate(bilou).to_dict()["f1"] == tagger.evaluate(pairs).f1


def test_gold_that_cannot_be_scored_is_refused(tagger: Tagger) -> None:
    with pytest.raises(LabelError, match="share none"):
        tagger.evaluate([(["a"], ["B-GENE"])])
    with pytest.raises(LabelError, match="plain tags"):
        tagger.evaluate([(["a", "b"], ["NOUN", "VERB"])])
    with pytest.raises(DataError, match="no gold tags"):
        tagger.evaluate(Dataset((Sentence(("a",)),)))
    with pytest.raises(DataError, match="labeled sentence 0 has no tags"):
        tagger.evaluate([Sentence(("a",))])
    with pytest.raises(DataError, match="labeled sentence 1 is a str"):
        tagger.evaluate([(["a"], ["O"]), "text"])  # type: ignore[list-item]


# ---------------------------------------------------------------------------------------------------------- training


def test_fit_learns_names_its_labels_and_saves(tiny_llama: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, plan="1111", subword="mean", device="cpu")
    train, dev = toys.toy_dataset(40, seed=1), toys.toy_dataset(12, seed=2)
    result = tagger.fit(train, dev, epochs=2, batch_size=8, learning_rate=1e-3, progress=False)
    assert tagger.labels == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert tagger.settings.subword == "mean"
    assert result.outcome.best_score is not None
    report = tagger.evaluate(dev, name="dev")
    assert report.f1 == pytest.approx(result.outcome.best_score)
    folder = tagger.save_pretrained(tmp_path / "out")
    assert Tagger.from_pretrained(folder, device="cpu").predict(TEXT) == tagger.predict(TEXT)
    card = (folder / "README.md").read_text()
    assert "chosen by strict span F1" in card
    assert "On dev" in card
    # A saved tagger goes on training; its labels stay and new ones come after them.
    again = Tagger.from_pretrained(folder, device="cpu")
    again.fit([*train, (["Monday", "came"], ["B-DAY", "O"])], epochs=1, progress=False)
    assert again.labels[: len(tagger.labels)] == tagger.labels
    assert again.labels[len(tagger.labels) :] == ("B-DAY", "I-DAY")
    assert "There was no dev set" in again.card()


def test_fit_saves_where_it_is_told_and_lora_stays_apart(tiny_llama: Path, tmp_path: Path) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, plan="0011", device="cpu")
    options = {"epochs": 1, "batch_size": 8, "method": "lora", "lora_r": 2}
    tagger.fit(toys.toy_dataset(16), 0.25, out=tmp_path / "run", progress=False, **options)
    assert (tmp_path / "run" / "adapter").is_dir()
    assert (tmp_path / "run" / "recipe.toml").is_file()
    spans = tagger.predict(TEXT)
    assert _close(Tagger.from_pretrained(tmp_path / "run", device="cpu").predict(TEXT), spans)
    merged = tagger.save_pretrained(tmp_path / "merged", merged=True)
    assert not (merged / "adapter").exists()
    assert _close(Tagger.from_pretrained(merged, device="cpu").predict(TEXT), spans)


def test_a_type_that_is_only_in_what_is_held_out_is_not_learned(
    tiny_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = Dataset(
        tuple(Sentence(tuple(words), tuple(tags)) for words, tags in toys.toy_dataset(40, seed=1)), scheme=Scheme.IOB2
    )
    _, dev = hold_out(plain, 0.2)
    sentences = tuple(
        Sentence(s.words, ("B-RARE", *["O"] * (len(s.words) - 1))) if s.words == dev[0].words else s for s in plain
    )
    tagger = Tagger.from_pretrained(tiny_llama, device="cpu")
    tagger.fit(Dataset(sentences, scheme=Scheme.IOB2), 0.2, epochs=1, progress=False)
    assert "RARE" not in tagger.settings.types
    assert "dev has types that train has not, scored as missed gold: RARE" in caplog.text


def _close(one: list[Span], other: list[Span]) -> bool:
    keys = [(s.type, s.start, s.end) for s in one] == [(s.type, s.start, s.end) for s in other]
    return keys and all(abs(a.score - b.score) < 1e-5 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": "1111"}, "plan is no option of fit"),
        ({"base": "x"}, "base is no option of fit"),
        ({"test": "x"}, "evaluate"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": -1}, "epochs is -1"),
    ],
)
def test_options_that_do_not_belong_to_fit(tiny_llama: Path, options: dict[str, object], message: str) -> None:
    tagger = Tagger.from_pretrained(tiny_llama, plan="0011", device="cpu")
    with pytest.raises(RecipeError, match=message):
        tagger.fit(toys.toy_dataset(4), progress=False, **options)
    assert tagger.model is None


def test_a_list_of_sentences_is_one_document_for_predict_as_for_evaluate(tiny_llama: Path) -> None:
    """Else a tagger with document context would be scored with its neighbours and used without them."""
    tagger = Tagger.from_pretrained(tiny_llama, labels=["PER", "LOC", "ORG"], context="document", plan="1111")
    sentences = [Sentence(tuple(words), tuple(tags)) for words, tags in toys.toy_dataset(6)]
    together = tagger.predict(sentences)
    assert together == tagger.predict(Dataset(tuple(sentences), scheme=Scheme.IOB2))
    assert together == tagger.predict(words=[sentence.words for sentence in sentences])
    assert together != [tagger.predict(sentence) for sentence in sentences]


def test_another_runs_folder_is_not_overwritten(tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="another training run"):
        tagger.save_pretrained(tmp_path / "run")
