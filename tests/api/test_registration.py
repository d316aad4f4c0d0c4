"""After `import lookright` transformers knows our folders, in either order; without it, it refuses them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

import toys
from api.conftest import make_tagger
from lookright.api import registration
from lookright.api.tagger import Tagger

TEXT = "Angela Merkel visited Zagreb."


def run_python(code: str, *arguments: object) -> list[str]:
    """The lines that a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


@pytest.fixture(scope="module")
def adapter_folder(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger saved as an adapter beside its base's name."""
    tagger = make_tagger(tiny_llama)
    tagger.fit(toys.toy_dataset(4), epochs=1, method="lora", lora_r=2, progress=False)
    return tagger.save_pretrained(tmp_path_factory.mktemp("adapter") / "tagger")


IN_ORDER = """
import json, sys
first, folder, text = sys.argv[1:]
if first == "lookright":
    import lookright
    assert not {"torch", "transformers"} & set(sys.modules)
    import transformers
    from transformers import pipeline
else:
    import transformers
    from transformers import AutoModelForTokenClassification, pipeline
    assert "lookright" not in sys.modules
    import lookright
from transformers import AutoConfig, AutoModelForTokenClassification
assert type(AutoConfig.from_pretrained(folder)).__name__ == "LookRightConfig"
pipe = pipeline("ner", model=folder, device="cpu")
model = AutoModelForTokenClassification.from_pretrained(folder)
assert type(model).__name__ == "LookRightForTokenClassification"
spec = sys.modules["transformers.pipelines"].__spec__
assert "lookright" not in type(spec.loader).__module__, spec.loader
print(json.dumps(pipe(text)))
"""

REFUSALS = """
import sys, warnings
warnings.simplefilter("ignore")
import peft, transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification, LlamaModel
from transformers import LlamaForTokenClassification, pipeline
assert "lookright" not in sys.modules
base = LlamaModel.from_pretrained(sys.argv[1])
for folder in sys.argv[2:]:
    for name, load in {
        "AutoConfig": lambda: AutoConfig.from_pretrained(folder),
        "AutoModel": lambda: AutoModel.from_pretrained(folder),
        "AutoModelForCausalLM": lambda: AutoModelForCausalLM.from_pretrained(folder),
        "AutoModelForTokenClassification": lambda: AutoModelForTokenClassification.from_pretrained(folder),
        "pipeline": lambda: pipeline("token-classification", model=folder),
        "pipeline ner": lambda: pipeline("ner", model=folder, tokenizer=folder),
        "AutoPeftModel": lambda: peft.AutoPeftModel.from_pretrained(folder),
        "AutoPeftModelForTokenClassification": lambda: peft.AutoPeftModelForTokenClassification.from_pretrained(folder),
        "PeftModel": lambda: peft.PeftModel.from_pretrained(base, folder),
        "PeftModel adapter": lambda: peft.PeftModel.from_pretrained(base, folder + "/adapter"),
        "PeftModel subfolder": lambda: peft.PeftModel.from_pretrained(base, folder, subfolder="adapter"),
        "load_adapter": lambda: base.load_adapter(folder),
        "load_adapter adapter": lambda: base.load_adapter(folder + "/adapter"),
    }.items():
        try:
            load()
        except Exception as error:
            print(name, "refuses:", type(error).__name__, str(error).splitlines()[0][:100])
        else:
            print(name, "LOADS")
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["lookright", "transformers"])
def test_either_order_of_import_gives_the_same_spans(tagger: Tagger, tagger_folder: Path, first: str) -> None:
    found = json.loads(run_python(IN_ORDER, first, tagger_folder, TEXT)[-1])
    expected = [(s.type, s.start, s.end) for s in tagger.predict(TEXT)]
    assert [(g["entity_group"], g["start"], g["end"]) for g in found] == expected


@pytest.mark.slow
def test_without_us_every_way_of_loading_refuses(tagger_folder: Path, adapter_folder: Path, tiny_llama: Path) -> None:
    assert (adapter_folder / "adapter").is_dir()
    lines = run_python(REFUSALS, tiny_llama, tagger_folder, adapter_folder)
    assert [line for line in lines if "LOADS" in line] == []
    assert sum("refuses" in line for line in lines) == 26
    assert all("lookright" in line for line in lines if line.startswith(("AutoModel", "AutoConfig", "pipeline")))


def test_nothing_ever_looks_like_somebody_elses_adapter(adapter_folder: Path) -> None:
    names = {path.name for path in adapter_folder.rglob("*")}
    assert not {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"} & names
    config = json.loads((adapter_folder / "config.json").read_text())
    assert config["model_type"] == "lookright"
    assert "auto_map" not in config


def test_a_module_loaded_later_is_called_back_once_and_keeps_its_own_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_late_module.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[ModuleType] = []
    monkeypatch.setitem(registration._AFTER_IMPORT, "a_late_module", seen.append)
    registration.install()
    module = importlib.import_module("a_late_module")
    assert seen == [module]
    assert module.value == 1
    assert module.__spec__ is not None
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
    importlib.import_module("a_late_module")
    assert len(seen) == 1
    importlib.reload(module)
    assert len(seen) == 2
    monkeypatch.delitem(sys.modules, "a_late_module")


def test_a_failure_of_ours_is_a_warning_and_the_module_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "another_late_module.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)

    def fail(_: ModuleType) -> None:
        raise RuntimeError("no such registry")

    monkeypatch.setitem(registration._AFTER_IMPORT, "another_late_module", fail)
    assert importlib.import_module("another_late_module").value == 2
    assert "could not register itself with another_late_module (RuntimeError: no such registry)" in caplog.text
    monkeypatch.delitem(sys.modules, "another_late_module")


def test_installing_twice_is_installing_once() -> None:
    registration.install()
    registration.install()
    assert sum(isinstance(finder, registration._Finder) for finder in sys.meta_path) == 1


def test_other_modules_are_none_of_our_business() -> None:
    finder = next(finder for finder in sys.meta_path if isinstance(finder, registration._Finder))
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("transformers.models.bert", None) is None


def test_two_threads_that_import_both_sides_at_once_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One thread loads their module, which leads to ours; another loads ours, which needs theirs."""
    for round_, (their_pause, our_pause) in enumerate([(0.2, 0.1), (0.1, 0.2), (0.0, 0.2), (0.2, 0.0)]):
        theirs, ours = f"their_module_{round_}", f"our_module_{round_}"
        (tmp_path / f"{theirs}.py").write_text(f"import time\ntime.sleep({their_pause})\nvalue = 1\n")
        (tmp_path / f"{ours}.py").write_text(f"import time\ntime.sleep({our_pause})\nfrom {theirs} import value\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(registration._AFTER_IMPORT, theirs, registration._import(ours))
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(importlib.import_module, name) for name in (theirs, ours, theirs, ours)]
            assert [job.result(timeout=20).value for job in jobs] == [1] * 4
        assert ours in sys.modules
        assert "could not register" not in caplog.text
        for name in (theirs, ours):
            monkeypatch.delitem(sys.modules, name)
