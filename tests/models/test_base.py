"""Loading a base: safely, under a plan, probed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import toys
from lookright.attention import current_plan
from lookright.encoding import SubwordEncoder
from lookright.errors import ModelFolderError, PlanError, RecipeError, UnsupportedModelError
from lookright.models.base import build_settings_window, fingerprint, load_base, resolve_folder


def test_a_base_carries_its_plan(tiny_llama: Path) -> None:
    base = load_base(tiny_llama, plan="0011")
    assert base.plan is not None
    assert base.plan.to_list() == [0, 0, -1, -1]
    assert current_plan(base.backbone) == base.plan
    assert base.source.fingerprint == fingerprint(tiny_llama)


def test_without_a_plan_the_upper_half_is_open(tiny_llama: Path) -> None:
    base = load_base(tiny_llama)
    assert base.plan is not None
    assert base.plan.to_list() == [0, 0, -1, -1]


def test_an_encoder_has_no_plan_and_refuses_one(tiny_encoder: Path) -> None:
    assert load_base(tiny_encoder).plan is None
    with pytest.raises(UnsupportedModelError, match="encoder"):
        load_base(tiny_encoder, plan="0011")


def test_a_language_model_head_is_left_out(tmp_path: Path) -> None:
    folder = toys.llama_folder(tmp_path / "lm", head=True)
    assert not any("lm_head" in name for name, _ in load_base(folder).backbone.named_parameters())


def test_a_plan_that_does_not_fit(tiny_llama: Path) -> None:
    with pytest.raises(PlanError):
        load_base(tiny_llama, plan="010101")


def test_pickled_weights_are_named_and_never_opened(tiny_llama: Path, tmp_path: Path) -> None:
    for file in tiny_llama.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin.*pickle|pickle.*pytorch_model\.bin"):
        load_base(tmp_path)


def test_a_folder_without_weights(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_llama / "config.json").read_bytes())
    with pytest.raises(ModelFolderError, match="no weights"):
        load_base(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"model_type": "no-such-model"}'])
def test_a_damaged_configuration(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises((ModelFolderError, UnsupportedModelError)) as caught:
        load_base(tmp_path)
    assert "\n" not in str(caught.value)


def test_truncated_weights(tiny_llama: Path, tmp_path: Path) -> None:
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFolderError):
        load_base(tmp_path)


def test_a_missing_tensor_is_an_error_and_not_random_numbers(tiny_llama: Path, tmp_path: Path) -> None:
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["layers.2.mlp.up_proj.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=r"layers\.2\.mlp\.up_proj\.weight"):
        load_base(tmp_path)


def test_a_head_that_is_left_out_is_no_news(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(toys.llama_folder(tmp_path / "lm", head=True))
    capfd.readouterr()
    load_base(tmp_path / "lm")
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder_and_a_name_out_of_reach(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="no such folder"):
        resolve_folder(tmp_path / "nothing")
    with pytest.raises(ModelFolderError, match="within reach"):
        resolve_folder("nobody/no-such-model")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ModelFolderError, match="is a file"):
        resolve_folder(file)


def test_a_peft_adapter_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFolderError, match="merge"):
        load_base(tmp_path)


def test_the_fingerprint_sees_one_changed_byte(tiny_llama: Path, tmp_path: Path) -> None:
    data = bytearray((tiny_llama / "model.safetensors").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(data)
    same = fingerprint(tmp_path)
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    assert same == fingerprint(tiny_llama) != fingerprint(tmp_path)


@pytest.mark.parametrize(("dtype", "expected"), [("bfloat16", torch.bfloat16), ("auto", torch.float32)])
def test_dtype(tiny_llama: Path, dtype: str, expected: Any) -> None:
    assert load_base(tiny_llama, dtype=dtype).backbone.dtype == expected


def test_an_unknown_dtype(tiny_llama: Path) -> None:
    with pytest.raises(RecipeError, match="int3"):
        load_base(tiny_llama, dtype="int3")


def test_the_window_is_what_the_base_takes(tiny_encoder: Path, tiny_llama: Path) -> None:
    assert build_settings_window(load_base(tiny_encoder).backbone.config, 512) == 128
    assert build_settings_window(load_base(tiny_llama).backbone.config, 256) == 256


def test_a_pad_token_without_an_embedding_is_not_used(tmp_path: Path) -> None:
    folder = toys.llama_folder(tmp_path / "base", pad=False)
    tokenizer = load_base(folder).tokenizer
    tokenizer.add_special_tokens({"pad_token": "<new-pad>"})
    tokenizer.save_pretrained(folder)
    base = load_base(folder)
    assert SubwordEncoder(base.tokenizer).pad_id < base.backbone.get_input_embeddings().num_embeddings
