"""A small random decoder."""

from pathlib import Path

from lookright.models.base import load_base, weight_files
from lookright.models.fresh import make_random_base
from toys import CORPUS


def test_it_loads_as_a_base_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two, three = (
        make_random_base(tmp_path / name, CORPUS, hidden=32, vocab=400, seed=seed)
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    )
    base = load_base(one, plan="0011")
    assert base.tokenizer.mask_token == "<mask>"
    assert len(base.tokenizer) <= 400
    read = [weight_files(folder)[0].read_bytes() for folder in (one, two, three)]
    assert read[0] == read[1] != read[2]
