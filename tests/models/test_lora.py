"""LoRA in a backbone: targets, gradients, merging."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lookright.errors import ModelFolderError, RecipeError
from lookright.models.base import load_base
from lookright.models.lora import (
    LoraSettings,
    add_lora,
    has_lora,
    load_lora_state,
    lora_state,
    lora_targets,
    merge_lora,
)


def settings_for(backbone: Any, targets: str = "all-linear", r: int = 4) -> LoraSettings:
    return LoraSettings(r=r, alpha=8, dropout=0.0, targets=lora_targets(backbone, targets))


def last_parts(names: tuple[str, ...]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def test_targets_of_a_llama(tiny_llama: Path) -> None:
    backbone = load_base(tiny_llama).backbone
    assert last_parts(lora_targets(backbone, "paper")) == {"q_proj", "v_proj"}
    assert last_parts(lora_targets(backbone, "attention")) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert len(lora_targets(backbone, "all-linear")) == 4 * 7
    assert last_parts(lora_targets(backbone, "up_proj, q_proj")) == {"up_proj", "q_proj"}
    with pytest.raises(RecipeError, match="down_proj"):
        lora_targets(backbone, ["nothing"])


def test_targets_of_an_encoder(tiny_encoder: Path) -> None:
    backbone = load_base(tiny_encoder).backbone
    assert last_parts(lora_targets(backbone, "paper")) == {"query", "value"}


@pytest.mark.parametrize(("kind", "fused"), [("gpt2", "c_attn"), ("gpt_neox", "query_key_value"), ("phi3", "qkv_proj")])
def test_the_paper_preset_takes_a_fused_matrix_and_says_so(
    kind: str, fused: str, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoConfig, AutoModel

    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    layers = {"n_layer": 2, "n_head": 4, "n_embd": 32} if kind == "gpt2" else {"num_hidden_layers": 2, **sizes}
    if kind == "phi3":
        layers |= {"num_key_value_heads": 4, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **{"vocab_size": 50, **layers})
    model = AutoModel.from_config(config)
    with caplog.at_level("INFO", logger="lookright"):
        assert last_parts(lora_targets(model, "paper")) == {fused}
    assert fused in caplog.text
    add_lora(model, settings_for(model, "paper"))
    assert has_lora(model)


def test_an_adapter_starts_as_nothing_and_only_it_learns(tiny_llama: Path) -> None:
    backbone = load_base(tiny_llama).backbone.eval()
    ids = torch.randint(0, 50, (1, 6))
    before = backbone(ids).last_hidden_state
    add_lora(backbone, settings_for(backbone))
    assert torch.equal(backbone(ids).last_hidden_state, before)
    backbone(ids).last_hidden_state.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
        if "lora_B" in name:
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def test_gradients_are_there_after_an_evaluation(tiny_llama: Path) -> None:
    """Some quantised layers stop passing gradients after a pass without them; ours must not."""
    backbone = load_base(tiny_llama).backbone
    add_lora(backbone, settings_for(backbone))
    ids = torch.randint(0, 50, (1, 6))
    for _ in range(2):
        backbone.train()
        backbone.zero_grad()
        backbone(ids).last_hidden_state.square().sum().backward()
        grads = [p.grad for n, p in backbone.named_parameters() if "lora_B" in n]
        assert all(g is not None and g.abs().sum() > 0 for g in grads)
        backbone.eval()
        with torch.no_grad():
            backbone(ids)


def randomise(backbone: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in backbone.named_parameters():
        if ".lora_" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_merging_keeps_the_output_and_leaves_plain_layers(tiny_llama: Path) -> None:
    backbone = load_base(tiny_llama).backbone.eval()
    names = [name for name, _ in backbone.named_parameters()]
    add_lora(backbone, settings_for(backbone))
    randomise(backbone)
    ids = torch.randint(0, 50, (2, 7))
    with torch.no_grad():
        adapted = backbone(ids).last_hidden_state
        merge_lora(backbone)
        merged = backbone(ids).last_hidden_state
    assert not has_lora(backbone)
    assert [name for name, _ in backbone.named_parameters()] == names
    assert (adapted - merged).abs().max() <= 1e-5 * adapted.abs().max()
    plain = load_base(tiny_llama).backbone.eval()
    with torch.no_grad():
        assert (plain(ids).last_hidden_state - merged).abs().max() > 1e-2


def test_the_state_fits_one_for_one(tiny_llama: Path) -> None:
    one, two = (load_base(tiny_llama).backbone for _ in range(2))
    add_lora(one, settings_for(one))
    add_lora(two, settings_for(two))
    randomise(one)
    load_lora_state(two, lora_state(one))
    assert all(torch.equal(a, b) for a, b in zip(lora_state(one).values(), lora_state(two).values(), strict=True))
    state = lora_state(one)
    state.pop(next(iter(state)))
    with pytest.raises(ModelFolderError, match="lora_"):
        load_lora_state(two, state)


def test_an_adapter_for_other_matrices(tiny_llama: Path) -> None:
    backbone = load_base(tiny_llama).backbone
    with pytest.raises(ModelFolderError, match="nowhere"):
        add_lora(backbone, LoraSettings(r=2, alpha=2, dropout=0, targets=("layers.0.nowhere",)))


def test_peft_reads_the_same_adapter(tiny_llama: Path, tmp_path: Path) -> None:
    """The oracle: PEFT's own save and reload of the injected adapter gives our output."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from transformers import AutoModel

    base = load_base(tiny_llama, plan="0000")
    backbone = base.backbone.eval()
    settings = settings_for(backbone, "paper")
    add_lora(backbone, settings)
    randomise(backbone)
    stock = AutoModel.from_pretrained(tiny_llama)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=list(settings.targets))
    peft_model = get_peft_model(stock, config).eval()
    state = {f"base_model.model.{n.replace('.default', '')}": t for n, t in lora_state(backbone).items()}
    set_peft_model_state_dict(peft_model, state)
    ids = torch.randint(0, 50, (2, 7))
    with torch.no_grad():
        ours, theirs = backbone(ids).last_hidden_state, peft_model(ids).last_hidden_state
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
