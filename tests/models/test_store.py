"""Folders: what is saved comes back, a kill leaves a whole one, odd ones are refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from lookright.attention import current_plan
from lookright.errors import LookRightError, ModelFolderError, OutputError
from lookright.models import store
from lookright.models.base import load_base, load_tokenizer
from lookright.models.compare import compare_logits, largest_difference
from lookright.models.lora import LoraSettings, lora_targets, merge_lora
from lookright.models.settings import TaggerSettings
from lookright.models.store import (
    STAGING,
    build_tagger,
    finish_saving,
    is_tagger_folder,
    load_tagger,
    save_tagger,
)
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.tags import Scheme, label_set

SETTINGS = TaggerSettings(labels=label_set(["PER", "creative-work"], Scheme.IOB2), subword="mean")


def make(
    base: Path, *, lora: bool = False, plan: str | None = "0,0,2,*", seed: int = 0
) -> LookRightForTokenClassification:
    torch.manual_seed(seed)
    loaded = load_base(base, plan=plan)
    settings = None
    if lora:
        settings = LoraSettings(r=2, alpha=4, dropout=0.0, targets=lora_targets(loaded.backbone, "paper"))
    model = build_tagger(loaded, SETTINGS, settings)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(std=0.1)
    return model.eval()


@pytest.mark.parametrize("plan", ["0000", "1111", "0,0,2,*"])
def test_a_whole_model_comes_back(tiny_llama: Path, tmp_path: Path, plan: str) -> None:
    model = make(tiny_llama, plan=plan)
    save_tagger(tmp_path / "out", model, load_tokenizer(tiny_llama), extra_files={"README.md": "card"})
    loaded = load_tagger(tmp_path / "out")
    assert current_plan(loaded.model.backbone) == current_plan(model.backbone)
    assert loaded.settings == SETTINGS
    assert largest_difference(model, loaded.model) == 0
    assert (tmp_path / "out" / "README.md").read_text() == "card"
    assert loaded.tokenizer("Zagreb").input_ids == load_tokenizer(tiny_llama)("Zagreb").input_ids
    assert not (tmp_path / "out" / STAGING).exists()


def test_an_encoder_comes_back(tiny_encoder: Path, tmp_path: Path) -> None:
    model = make(tiny_encoder, plan=None)
    save_tagger(tmp_path, model, load_tokenizer(tiny_encoder))
    assert largest_difference(model, load_tagger(tmp_path).model) == 0


def test_bfloat16_weights_come_back_with_their_head_in_float32(tiny_llama: Path, tmp_path: Path) -> None:
    base = load_base(tiny_llama, plan="0011", dtype="bfloat16")
    model = build_tagger(base, SETTINGS).eval()
    save_tagger(tmp_path, model, load_tokenizer(tiny_llama))
    loaded = load_tagger(tmp_path).model
    assert loaded.backbone.dtype == torch.bfloat16
    assert torch.equal(loaded.score.weight, model.score.weight)


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_comes_back_with_its_head(tiny_llama: Path, tmp_path: Path, merge: bool) -> None:
    model = make(tiny_llama, lora=True)
    save_tagger(tmp_path, model, load_tokenizer(tiny_llama))
    assert not (tmp_path / "model.safetensors").exists()
    loaded = load_tagger(tmp_path, merge=merge).model
    assert largest_difference(model, loaded) <= (1e-5 if merge else 0)
    assert largest_difference(make(tiny_llama), loaded) > 1e-3
    assert current_plan(loaded.backbone) == current_plan(model.backbone)


def test_a_merged_model_is_saved_whole(tiny_llama: Path, tmp_path: Path) -> None:
    model = make(tiny_llama, lora=True)
    save_tagger(tmp_path, model, load_tokenizer(tiny_llama))
    adapted = load_tagger(tmp_path, merge=False).model
    merge_lora(model.backbone)
    save_tagger(tmp_path, model, load_tokenizer(tiny_llama))
    assert not (tmp_path / "adapter").exists()
    assert not (tmp_path / "head.safetensors").exists()
    assert largest_difference(load_tagger(tmp_path).model, adapted) <= 1e-5


def test_an_adapter_refuses_another_base(tiny_llama: Path, tmp_path: Path) -> None:
    base = toys.llama_folder(tmp_path / "base", seed=1)
    save_tagger(tmp_path / "out", make(base, lora=True), load_tokenizer(base))
    toys.llama_folder(base, seed=2)
    with pytest.raises(ModelFolderError, match="one base only"):
        load_tagger(tmp_path / "out")
    with pytest.raises(ModelFolderError, match="one base only"):
        load_tagger(tmp_path / "out", base=tiny_llama)


def test_an_adapter_finds_its_base_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys.llama_folder(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    model = make(Path("base"), lora=True)
    save_tagger("out", model, load_tokenizer(tmp_path / "base"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert largest_difference(load_tagger(tmp_path / "out").model, model) <= 1e-5
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ModelFolderError, match="--adapter-base"):
        load_tagger(tmp_path / "out")
    assert largest_difference(load_tagger(tmp_path / "out", base=tmp_path / "moved").model, model) <= 1e-5


def test_a_path_in_a_downloaded_adapter_is_not_followed(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tagger(tmp_path / "out", make(tiny_llama, lora=True), load_tokenizer(tiny_llama))
    real = store.resolve_folder
    monkeypatch.setattr(
        store, "resolve_folder", lambda name, **kw: tmp_path / "out" if name == "some/hub-name" else real(name, **kw)
    )
    with pytest.raises(ModelFolderError, match="downloaded"):
        load_tagger("some/hub-name")
    load_tagger("some/hub-name", base=tiny_llama)


def test_stock_transformers_and_peft_refuse_both_kinds_of_folder(tiny_llama: Path, tmp_path: Path) -> None:
    """In a process of its own, since this one has our classes registered."""
    import subprocess
    import sys

    for name, lora in (("whole", False), ("adapter", True)):
        save_tagger(tmp_path / name, make(tiny_llama, lora=lora), load_tokenizer(tiny_llama))
    code = f"""
import sys
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoModelForCausalLM
from peft import AutoPeftModel, PeftModel
base = AutoModel.from_pretrained({str(tiny_llama)!r})
loaded = []
for folder in ({str(tmp_path / "whole")!r}, {str(tmp_path / "adapter")!r}, {str(tmp_path / "adapter" / "adapter")!r}):
    for load in (AutoConfig, AutoModel, AutoModelForTokenClassification, AutoModelForCausalLM, AutoPeftModel):
        try:
            load.from_pretrained(folder)
            loaded.append((load.__name__, folder))
        except Exception as error:
            pass
    try:
        PeftModel.from_pretrained(base, folder)
        loaded.append(("PeftModel", folder))
    except Exception:
        pass
print(loaded)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert run.stdout.strip() == "[]", run.stdout + run.stderr[-2000:]


def test_only_safetensors_are_written(tiny_llama: Path, tmp_path: Path) -> None:
    save_tagger(tmp_path, make(tiny_llama, lora=True), load_tokenizer(tiny_llama))
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} <= {".json", ".safetensors", ".jinja", ".md"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_in_the_way_is_kept(tiny_llama: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError):
        save_tagger(target, make(tiny_llama), None)
    assert (target if kind == "file" else target / "thesis.tex").read_text() == "mine"


class Killed(BaseException):
    """Stands for kill -9: nothing may clean up after it."""


def kill_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: int) -> None:
    real: Callable[..., Any] = getattr(owner, name)
    count = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


def test_a_kill_before_the_mark_leaves_the_old_tagger(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make(tiny_llama, seed=1), make(tiny_llama, seed=2)
    save_tagger(tmp_path, old, load_tokenizer(tiny_llama))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a killed process cleans nothing
        kill_after(patch, store, "sync", 2)
        with pytest.raises(Killed):
            save_tagger(tmp_path, new, load_tokenizer(tiny_llama))
        assert (tmp_path / STAGING).exists()
    assert largest_difference(load_tagger(tmp_path).model, old) == 0
    save_tagger(tmp_path, new, load_tokenizer(tiny_llama))
    assert largest_difference(load_tagger(tmp_path).model, new) == 0


@pytest.mark.parametrize("moved", range(6))
def test_a_kill_while_files_move_is_completed_by_the_next_reader(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    old, new = make(tiny_llama, lora=True, seed=1), make(tiny_llama, seed=2)
    save_tagger(tmp_path, old, load_tokenizer(tiny_llama))
    with monkeypatch.context() as patch:
        kill_after(patch, Path, "replace", moved)
        try:
            save_tagger(tmp_path, new, load_tokenizer(tiny_llama))
        except Killed:
            assert (tmp_path / STAGING / "READY").exists()
    if moved % 2:  # whichever reader comes first completes it
        assert is_tagger_folder(tmp_path)
    assert largest_difference(load_tagger(tmp_path).model, new) == 0
    assert not (tmp_path / STAGING).exists()


def test_a_full_disk_is_one_line_and_changes_nothing(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tiny_llama, seed=1)
    save_tagger(tmp_path, old, load_tokenizer(tiny_llama))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store, "save_torch_state_dict", full)
        with pytest.raises(OutputError, match="disk is full"):
            save_tagger(tmp_path, make(tiny_llama, seed=2), load_tokenizer(tiny_llama))
    assert not (tmp_path / STAGING).exists()
    assert largest_difference(load_tagger(tmp_path).model, old) == 0


def test_a_wrong_tensor_is_noticed_when_it_is_read_back(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.save_torch_state_dict

    def altered(state: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> None:
        real({n: t + 1 if n == "score.bias" else t for n, t in state.items()}, *args, **kwargs)

    monkeypatch.setattr(store, "save_torch_state_dict", altered)
    with pytest.raises(OutputError, match="score"):
        save_tagger(tmp_path / "out", make(tiny_llama), None)
    assert not is_tagger_folder(tmp_path / "out")


def damage(folder: Path, how: str) -> None:
    config = folder / "config.json"
    data = json.loads(config.read_text())
    weights = folder / "model.safetensors"
    if how == "no weights":
        weights.unlink()
    elif how == "half a file":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "no config":
        config.unlink()
    elif how == "not JSON":
        config.write_text("{")
    elif how == "no settings":
        del data["settings"]
        config.write_text(json.dumps(data))
    elif how == "a layer more":
        data["base_config"]["num_hidden_layers"] += 1
        data["base_config"]["lookright_right_contexts"].append(0)
        config.write_text(json.dumps(data))
    elif how == "other labels":
        data["settings"]["labels"].append("B-NEW")
        config.write_text(json.dumps(data))
    elif how == "unknown base":
        data["base_config"]["model_type"] = "no-such-model"
        config.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "how",
    [
        "no weights",
        "half a file",
        "no config",
        "not JSON",
        "no settings",
        "a layer more",
        "other labels",
        "unknown base",
    ],
)
def test_a_damaged_folder_is_one_clear_line(tiny_llama: Path, tmp_path: Path, how: str) -> None:
    save_tagger(tmp_path, make(tiny_llama), load_tokenizer(tiny_llama))
    damage(tmp_path, how)
    with pytest.raises(LookRightError) as caught:
        load_tagger(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_staged_save_cannot_reach_outside_the_folder(tiny_llama: Path, tmp_path: Path) -> None:
    save_tagger(tmp_path / "out", make(tiny_llama), load_tokenizer(tiny_llama))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out" / STAGING).mkdir()
    (tmp_path / "out" / STAGING / "READY").write_text(json.dumps(["../victim"]))
    with pytest.raises(ModelFolderError, match="outside"):
        finish_saving(tmp_path / "out")
    assert victim.read_text() == "mine"


def test_a_base_is_not_a_tagger(tiny_llama: Path) -> None:
    assert not is_tagger_folder(tiny_llama)
    with pytest.raises(ModelFolderError, match="lookright train --base"):
        load_tagger(tiny_llama)


@pytest.mark.parametrize("where", ["score", "backbone"])
def test_weights_that_are_no_numbers_are_not_saved(tiny_llama: Path, tmp_path: Path, where: str) -> None:
    model = make(tiny_llama)
    with torch.no_grad():
        (model.score if where == "score" else model.backbone.norm).weight[0] = float("nan")  # type: ignore[union-attr]
    with pytest.raises(OutputError, match="not finite"):
        save_tagger(tmp_path / "out", model, None)
    assert not (tmp_path / "out").exists()


def test_a_tagger_with_damaged_weights_is_called_so(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(tiny_llama)
    with torch.no_grad():
        model.backbone.layers[0].input_layernorm.weight[0] = float("nan")  # type: ignore[union-attr,index]
    monkeypatch.setattr(store, "refuse_damaged", lambda model: None)
    monkeypatch.setattr(store, "compare_tensors", lambda folder, model: None)
    save_tagger(tmp_path / "out", model, load_tokenizer(tiny_llama))
    with pytest.raises(ModelFolderError, match="damaged"):
        load_tagger(tmp_path / "out")


def test_saved_logits_are_compared(tiny_llama: Path, tmp_path: Path) -> None:
    model = make(tiny_llama, lora=True)
    save_tagger(tmp_path / "out", model, load_tokenizer(tiny_llama))
    compare_logits(tmp_path / "out", model)
    with torch.no_grad():
        model.score.weight[0] += 1
    with pytest.raises(OutputError, match="other logits"):
        compare_logits(tmp_path / "out", model)


def test_everybody_who_may_read_the_folder_may_read_the_weights(tiny_llama: Path, tmp_path: Path) -> None:
    save_tagger(tmp_path / "out", make(tiny_llama), load_tokenizer(tiny_llama))
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "out").iterdir() if p.is_file()}
    assert len(set(modes.values())) == 1, modes
