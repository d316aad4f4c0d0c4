"""The study file: what it says, and each mistake in one line that names file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lookright.errors import RecipeError
from lookright.study.definition import Study, base_of, file_of
from lookright.study.matrix import jobs_of

STUDIES = Path(__file__).parents[2] / "studies"
GOOD = """
plans = ["0000", "0011"]
seeds = [0, 1]
[model.nano]
base = "lookright-nano"
[dataset.notes]
train = "train.conll"
test = "test.conll"
[recipe.short]
epochs = 1
"""


def read(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return Study.from_toml(path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_ready_study_makes_the_runs_that_it_states(path: Path) -> None:
    stated = re.search(r"^runs = (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert stated is not None
    study = Study.from_toml(path)
    jobs = jobs_of(study)
    assert len(jobs) == study.n_runs == int(stated[1])
    assert len({job.id for job in jobs}) == len({job.name for job in jobs}) == len(jobs)
    assert study.name == path.stem


def test_there_are_four_ready_studies() -> None:
    assert {path.stem for path in STUDIES.glob("*.toml")} >= {"laptop", "paper", "paper-as-released", "small-scale"}


def test_the_fault_is_in_the_one_study_alone_that_says_so() -> None:
    corrected, released = (Study.from_toml(STUDIES / f"{name}.toml") for name in ("paper", "paper-as-released"))
    one, other = (dict(study.recipes[0].options) for study in (corrected, released))
    assert (one.pop("batch_size"), other.pop("batch_size"), other.pop("accumulation_fault")) == (64, 16, 4)
    assert one == other
    assert (corrected.models, corrected.datasets, corrected.plans, corrected.seeds) == (
        released.models, released.datasets, released.plans, released.seeds,
    )  # fmt: skip


def test_a_study_file_is_read(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert (study.name, study.n_runs, study.baseline, study.folder) == ("mine", 4, "0000", tmp_path)
    assert [job.name for job in jobs_of(study)] == [
        f"nano/{plan}/notes/short/{seed}" for seed in (0, 1) for plan in ("0000", "0011")
    ]
    assert study.datasets[0].dev == 0.1


def test_what_is_bundled_needs_no_table(tmp_path: Path) -> None:
    study = read(tmp_path, 'models = ["lookright-nano"]\ndatasets = ["wnut17"]\nplans = "all:2"\n')
    assert study.plans == ("00", "01", "10", "11")
    assert (study.recipes[0].name, study.seeds, study.n_runs) == ("default", (0,), 4)
    assert file_of(tmp_path, study.datasets[0].train).name == "train.conll"


def test_a_model_may_have_plans_of_its_own_and_lists_may_leave_things_out(tmp_path: Path) -> None:
    text = GOOD + '[model.encoder]\nbase = "encoder"\nplans = ["own"]\n[recipe.long]\nupdates = 9\nevals = 2\n'
    study = read(tmp_path, text)
    assert study.n_runs == 2 * (2 + 1) * 2
    assert study.recipes[1].updates == 9
    assert read(tmp_path, 'models = ["encoder"]\nrecipes = ["long"]\n' + text).n_runs == 2
    first = [job.name for job in jobs_of(study)][:4]
    assert first == [f"{who}/notes/{recipe}/0" for who in ("nano/0000", "encoder/own") for recipe in ("short", "long")]


def test_paths_are_relative_to_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "train.conll").touch()
    assert base_of(tmp_path, "base") == str(tmp_path / "base")
    assert base_of(tmp_path, "org/base") == "org/base"
    assert file_of(tmp_path, "train.conll") == tmp_path / "train.conll"
    with pytest.raises(RecipeError, match=r"nowhere\.conll: no such file; paths of a study are relative"):
        file_of(tmp_path, "nowhere.conll")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds", "sedes", "'sedes' is not a key of it; did you mean 'seeds'?"),
        ("epochs = 1", "epoch = 1", r"[recipe.short] 'epoch' is not an option of a recipe; did you mean 'epochs'?"),
        ("epochs = 1", "epochs = 0", "[recipe.short] epochs is 0.0, expected a number above 0"),
        ("epochs = 1", "plan = '0'", "[recipe.short] plan is not for a recipe of a study; give the list plans"),
        ("epochs = 1", "resume = true", "[recipe.short] resume cannot be set in a file"),
        ("epochs = 1", "updates = 0", "[recipe.short] updates is 0; expected a whole number of at least 1"),
        ("epochs = 1", "epochs = 1\nupdates = 5", "[recipe.short] has updates and epochs; drop one of the two"),
        ("epochs = 1", "updates = 5\nevals_per_epoch = 2", "with updates, give evals"),
        ("epochs = 1", "evals = 2", "[recipe.short] has evals, which goes with updates"),
        ("test = ", "tset = ", "[dataset.notes] 'tset' is not a key of it; did you mean 'test'?"),
        ('test = "test.conll"', "", "[dataset.notes] has no test"),
        ('train = "train.conll"', 'sample = "wnut17"', "[dataset.notes] has sample and test; drop one of the two"),
        ('train = "train.conll"\ntest = "test.conll"', 'sample = "wnut"', "did you mean 'wnut17'?"),
        ('test = "test.conll"', 'test = "t"\ndev = 2.0', "[dataset.notes] dev is 2.0"),
        ('test = "test.conll"', 'test = "t"\nscheme = "BIP"', "[dataset.notes] scheme"),
        ("base = ", "bas = ", "[model.nano] 'bas' is not a key of it; did you mean 'base'?"),
        ('base = "lookright-nano"', "", "[model.nano] has no base"),
        ('"0011"]', '"0021"]', "plans names '0021': mask plan"),
        ('"0011"]', '"casual"]', "plans names 'casual'; did you mean 'causal'?"),
        ('"0011"]', '"causal"]', "plans names 'causal' and '0000', which are the same plan"),
        ('"0011"]', '"0000"]', "plans names '0000' twice"),
        ('"0011"]', '"all:9"]', "expected from all:1 to all:8"),
        ("plans", 'datasets = ["note"]\nplans', "datasets names 'note', which is not defined; did you mean 'notes'?"),
        ("plans", 'models = ["nan"]\nplans', "models names 'nan', which is not defined; did you mean 'nano'?"),
        ("plans", 'recipes = ["x"]\nplans', "recipes names 'x', which is not defined; known are short, default"),
        ("plans", 'baseline = "001"\nplans', "baseline is '001', which is not among the plans; did you mean '0011'?"),
        ("plans", "runs = 7\nplans", "runs is 7, but its lists make 4 runs"),
        ("[0, 1]", "[0, 0]", "expected each once"),
        ("[0, 1]", "3", "seeds is 3; expected a list of whole numbers"),
        ("[0, 1]", "[-1]", "seed is -1"),
        ("[model.nano]", "[model.'a/b']", "expected letters, digits, dots and dashes in the name"),
        ('plans = ["0000", "0011"]', "", "plans is missing"),
        ('[model.nano]\nbase = "lookright-nano"', "", "there is no model"),
        ("seeds = [0, 1]", "seeds = [0", "not a TOML file"),
    ],
)
def test_each_mistake_is_one_line_with_file_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as error:
        read(tmp_path, GOOD.replace(old, new, 1))
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'mine.toml'}: ")
    assert words in text
    assert "\n" not in text


def test_a_study_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        Study.from_toml(tmp_path / "none.toml")


def test_the_id_of_a_run_follows_what_decides_its_numbers_alone(tmp_path: Path) -> None:
    before = {job.name: job.id for job in jobs_of(read(tmp_path, GOOD))}
    grown = {job.name: job.id for job in jobs_of(read(tmp_path, GOOD.replace("[0, 1]", "[1, 0, 5]")))}
    assert before.items() <= grown.items()
    changed = {job.name: job.id for job in jobs_of(read(tmp_path, GOOD.replace("epochs = 1", "epochs = 2")))}
    assert before.keys() == changed.keys()
    assert not set(before.values()) & set(changed.values())
