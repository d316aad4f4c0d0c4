"""The recipe: one dataclass that is keywords, flags and TOML at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookright.errors import RecipeError
from lookright.training.defaults import PRESETS, Facts
from lookright.training.recipe import GROUPS, OPTIONS, Recipe

SMALL = Facts(n_parameters=5_000_000, n_sentences=3_000)
LARGE = Facts(n_parameters=600_000_000, n_sentences=14_000, device="cuda", bfloat16=True, max_window=2048)


def test_importing_the_recipe_loads_no_torch() -> None:
    heavy = "[m for m in ('torch', 'transformers', 'numpy') if m in sys.modules]"
    code = f"import sys, lookright.training.recipe; print({heavy})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_every_option_has_a_group_a_help_and_an_own_flag() -> None:
    assert {o.group for o in OPTIONS.values()} == set(GROUPS)
    assert len({o.flag for o in OPTIONS.values()}) == len(OPTIONS)
    for opt in OPTIONS.values():
        assert opt.help
        assert not opt.help.endswith(".")
        assert opt.metavar or opt.kind in ("flag", "choice"), opt.name


def test_defaults_make_a_valid_recipe_and_resolve_to_figures() -> None:
    for facts in (SMALL, LARGE):
        resolved = Recipe().resolved(facts)
        left = {n for n in OPTIONS if getattr(resolved, n) is None}
        lora = {n for n in OPTIONS if n.startswith("lora_")} if resolved.method == "full" else set()
        assert left == lora | {
            "base", "plan", "task", "revision", "train", "dev", "test", "columns", "scheme", "out", "preset",
            "text_column", "pair_column", "label_column", "target", "pooling",
        }  # fmt: skip
        assert resolved.resolved(facts) == resolved


def test_small_models_are_trained_whole_and_large_ones_by_adapters() -> None:
    assert Recipe().resolved(SMALL).method == "full"
    large = Recipe().resolved(LARGE)
    assert (large.method, large.lora_r, large.lora_alpha, large.lora_targets) == ("lora", 16, 32.0, "all-linear")
    assert large.precision == "bfloat16"
    assert Recipe().resolved(SMALL).precision == "float32"
    assert Recipe(lora_r=4).resolved(SMALL).method == "lora"
    assert Recipe(lora_r=4).resolved(SMALL).lora_alpha == 8.0


def test_fewer_sentences_are_seen_more_often() -> None:
    sizes = (100, 500, 3_000, 10_000, 100_000)
    epochs = [Recipe().resolved(Facts(10**7, n)).epochs for n in sizes]
    assert epochs == sorted(epochs, reverse=True)  # type: ignore[type-var]


def test_the_paper_preset_is_the_papers_and_single_options_win() -> None:
    paper = Recipe(preset="paper").resolved(SMALL)
    assert (paper.method, paper.lora_r, paper.lora_alpha, paper.lora_dropout) == ("lora", 64, 16.0, 0.1)
    assert (paper.learning_rate, paper.batch_size, paper.epochs) == (2e-4, 16, 5.0)
    assert (paper.warmup_ratio, paper.schedule, paper.weight_decay) == (0.0, "cosine", 0.1)
    assert (paper.adam_betas, paper.max_grad_norm, paper.lora_targets) == ((0.9, 0.95), 1.0, "paper")
    assert Recipe(preset="paper", lora_r=8, epochs=2).resolved(SMALL).lora_r == 8
    assert Recipe(preset="paper", method="full").resolved(SMALL).lora_r is None
    for name, values in PRESETS.items():
        Recipe(preset=name, **values)


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({"learning_rate": -1}, "learning_rate is -1", "a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan", "a number above 0"),
        ({"batch_size": 0}, "batch_size is 0", "of at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5", "a whole number"),
        ({"batch_size": True}, "batch_size is True", "a whole number"),
        ({"epochs": "5"}, "epochs is '5'", "a number"),
        ({"method": "Lora"}, "method is 'Lora'", "did you mean 'lora'?"),
        ({"schedule": "cos"}, "schedule is 'cos'", "linear, cosine, constant"),
        ({"dev": 1.5}, "dev is 1.5", "a share between 0 and 1"),
        ({"resume": "yes", "out": "x"}, "resume is 'yes'", "true or false"),
        ({"seed": None}, "seed is None", "a whole number"),
        ({"plan": 3}, "plan is 3", "a plan such as"),
        ({"adam_betas": (0.9, 1.0)}, "adam_betas is", "two numbers"),
        ({"method": "full", "lora_r": 8}, "no adapters", "lora_r"),
        ({"scheme": "BOI"}, "scheme", ""),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], found: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**values)  # type: ignore[arg-type]
    assert found in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"'batchsize' is not an option of a recipe; did you mean 'batch_size'\?"):
        Recipe.from_dict({"batchsize": 4})
    assert Recipe.from_dict({"batch-size": 4}).batch_size == 4


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(
        base='a "quoted"\\ name\n', dev=0.1, plan=(0, "*", 2), lora_targets=("q_proj", "v_proj"),
        adam_betas=(0.9, 0.95), learning_rate=3e-5, seed=7, strict_labels=True, scheme="bio",
    )  # fmt: skip
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_toml(path) == recipe
    assert Recipe.from_toml(path, seed=8, dev=None).seed == 8
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.scheme == "IOB2"


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=1).filter(str.strip), share=st.floats(0.001, 0.999), seed=st.integers(0, 2**32 - 1))
def test_toml_round_trip_of_any_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, share: float, seed: int
) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    recipe = Recipe(base=text, dev=share, seed=seed)
    path = tmp_path_factory.mktemp("toml") / "recipe.toml"
    path.write_bytes(recipe.to_toml().encode())
    assert Recipe.from_toml(path) == recipe


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batch_size = ", "not a TOML file"),
        ("batchsize = 3", "did you mean 'batch_size'"),
        ("batch_size = 0", "batch_size is 0"),
        ("trust_remote_code = true", "--trust-remote-code"),
        ("resume = true", "--resume"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.from_toml(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.from_toml(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch_size", "16", 16),
        ("batch_size", "auto", None),
        ("learning_rate", "2e-4", 2e-4),
        ("dev", "0.1", 0.1),
        ("dev", "dev.conll", "dev.conll"),
        ("dev", "./0.1", "./0.1"),
        ("plan", "0,0,2,*", "0,0,2,*"),
        ("lora_targets", "q_proj, v_proj", ("q_proj", "v_proj")),
        ("lora_targets", "paper", "paper"),
        ("adam_betas", "0.9,0.95", (0.9, 0.95)),
        ("strict_labels", "true", True),
    ],
)
def test_values_are_read_from_text(name: str, text: str, value: object) -> None:
    assert OPTIONS[name].from_text(text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("batch_size", "many"), ("epochs", ""), ("adam_betas", "1"), ("seed", "auto")]
)
def test_text_that_is_no_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} is"):
        OPTIONS[name].from_text(text)


def test_differences_name_only_what_decides_the_numbers() -> None:
    a = Recipe(out="a", seed=1)
    assert a.differences(a.replace(out="b", test="t")) == []
    assert a.differences(a.replace(seed=2, epochs=3)) == ["epochs", "seed"]


def test_the_reference_in_the_docs_is_the_dataclass() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert Recipe.table() in text, "docs/recipe.md is out of step: paste the output of Recipe.table() into it"
