"""A tokenizer trained on a text."""

from lookright.models.new_tokenizer import SPECIAL_TOKENS, train_tokenizer
from toys import CORPUS


def test_it_has_its_special_tokens_first_and_gives_every_text_back() -> None:
    tokenizer = train_tokenizer(CORPUS, 400)
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIAL_TOKENS)
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.mask_token) == ("<pad>", "</s>", "<mask>")
    assert len(tokenizer) <= 400
    for text in (*CORPUS[:5], "Žagreb \N{GRINNING FACE}\n\tand  spaces ", "\x00\N{COMBINING ACUTE ACCENT}"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_the_same_text_makes_the_same_tokenizer() -> None:
    one, two, other = (train_tokenizer(texts, 350).backend_tokenizer.to_str() for texts in (CORPUS, CORPUS, CORPUS[:3]))
    assert one == two != other
