"""Installing a plan: what is refused and why, what survives copies, checkpoints and adapters."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from tests.families import BY_NAME
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM

from lookright.attention import (
    PLAN_KEY,
    apply_plan,
    can_pack,
    check_plan,
    current_plan,
    decoder_layers,
    is_encoder,
    packed_kwargs,
    padded_kwargs,
    probe,
)
from lookright.errors import RecipeError, UnsupportedModelError
from lookright.plan import MaskPlan

SMALL = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}


def parse(spec: str) -> MaskPlan:
    return MaskPlan.parse(spec, 4)


def tiny(model_type: str, **options):
    config = CONFIG_MAPPING[model_type](**{**SMALL, **options})
    return AutoModel.from_config(config, attn_implementation="eager").eval()


def test_a_plan_lives_on_the_config_and_a_second_replaces_it():
    model = BY_NAME["llama"].model()
    assert current_plan(model) is None
    assert apply_plan(model, parse("0011")) == "sdpa"
    assert getattr(model.config, PLAN_KEY) == [0, 0, -1, -1]
    assert current_plan(model) == parse("0011")
    assert apply_plan(model, parse("1,2,0,*"), "eager") == "eager"
    assert check_plan(model).measured == (1, 2, 0, 7)
    assert model.config.use_cache is False


@pytest.mark.parametrize("name", ["falcon", "gpt_neo"])
def test_hooks_are_installed_once(name):
    model = BY_NAME[name].model()
    for spec in ("1111", "0,2,*,1", "0000", "0011"):
        apply_plan(model, parse(spec))
        assert check_plan(model).expected == check_plan(model).measured
    assert [len(layer._forward_pre_hooks) for layer in decoder_layers(model)] == [1] * 4


@pytest.mark.parametrize("name", ["llama", "falcon", "gpt_neo"])
def test_a_deep_copy_has_a_plan_of_its_own(name):
    model = BY_NAME[name].model()
    apply_plan(model, parse("0011"))
    other = copy.deepcopy(model)
    apply_plan(other, parse("1100"))
    assert check_plan(model).measured == (0, 0, 7, 7) if name == "llama" else check_plan(model)
    assert check_plan(other).plan == parse("1100")
    assert current_plan(model) == parse("0011")


def test_threads_with_different_plans():
    plans = [parse(spec) for spec in ("0011", "1100", "0,2,*,1", "1111")]
    models = [BY_NAME["llama"].model() for _ in plans]
    for model, plan in zip(models, plans, strict=True):
        apply_plan(model, plan)
    errors: list[Exception] = []

    def work(model):
        try:
            for _ in range(3):
                check_plan(model)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_plan_survives_save_and_load(tmp_path):
    model = BY_NAME["mistral"].model()
    apply_plan(model, parse("0,2,*,0"))
    ids = torch.arange(3, 13)[None]
    before = model(input_ids=ids).last_hidden_state
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    plan = current_plan(loaded)
    assert plan == parse("0,2,*,0")
    apply_plan(loaded, plan)
    assert torch.equal(loaded(input_ids=ids).last_hidden_state, before)


def test_a_language_model_head_is_no_obstacle():
    model = AutoModelForCausalLM.from_config(BY_NAME["qwen2"].config())
    apply_plan(model, parse("0011"))
    assert check_plan(model).measured == (0, 0, 7, 7)


def test_lora_injected_before_or_after():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = BY_NAME["llama"].model()
    apply_plan(model, parse("0011"))
    wrapped = peft.get_peft_model(model, config)
    assert check_plan(wrapped).measured == (0, 0, 7, 7)
    apply_plan(wrapped, parse("1100"))
    assert check_plan(wrapped).measured == (7, 7, 0, 0)
    assert current_plan(wrapped) == parse("1100")
    merged = wrapped.merge_and_unload()
    assert check_plan(merged).measured == (7, 7, 0, 0)


def test_the_cache_is_refused_where_a_layer_is_open():
    model = BY_NAME["llama"].model()
    apply_plan(model, parse("0011"))
    first = model(input_ids=torch.tensor([[3, 4, 5]]), use_cache=True)
    with pytest.raises(UnsupportedModelError, match="use_cache=False"):
        model(input_ids=torch.tensor([[6]]), past_key_values=first.past_key_values, use_cache=True)


@pytest.mark.parametrize(
    ("model_type", "options", "spec", "reason"),
    [
        ("bloom", {"n_layer": 4, "n_head": 4}, "0011", "ALiBi"),
        ("falcon", {"alibi": True}, "0011", "ALiBi"),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 4}, "0011", "ALiBi"),
        ("mamba", {"state_size": 4}, "0011", "2,3 are recurrent"),
        ("rwkv", {"attention_hidden_size": 32, "context_length": 64}, "0011", "recurrent"),
        ("bert", {"intermediate_size": 32}, "0011", "encoder"),
        ("roberta", {"intermediate_size": 32}, "0000", "encoder"),
        ("modernbert", {"intermediate_size": 32, "pad_token_id": 0}, "1111", "whole sentence"),
        (
            "t5",
            {"d_model": 32, "d_ff": 32, "num_layers": 4, "d_kv": 8, "num_heads": 4},
            "0011",
            "encoder-decoder",
        ),
    ],
)
def test_refused_by_name_with_the_reason(model_type, options, spec, reason):
    model = tiny(model_type, **options)
    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        apply_plan(model, parse(spec))
    assert model_type in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not hasattr(model.config, PLAN_KEY)


def test_alibi_may_stay_causal():
    model = tiny("falcon", alibi=True)
    apply_plan(model, parse("0000"))
    assert check_plan(model).measured == (0, 0, 0, 0)


def test_a_model_made_bidirectional_by_its_config_is_refused():
    model = BY_NAME["llama"].model(is_causal=False)
    with pytest.raises(UnsupportedModelError, match="is_causal"):
        apply_plan(model, parse("0011"))
    model = BY_NAME["gemma3_text"].model(use_bidirectional_attention=True)
    with pytest.raises(UnsupportedModelError, match="use_bidirectional_attention"):
        apply_plan(model, parse("0011"))


def test_is_causal_false_at_call_time_is_refused():
    model = BY_NAME["llama"].model()
    apply_plan(model, parse("0011"))
    with pytest.raises(UnsupportedModelError, match="is_causal"):
        model(input_ids=torch.tensor([[3, 4, 5]]), is_causal=False)


HYBRIDS = {
    "jamba": {
        "intermediate_size": 32,
        "num_key_value_heads": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "use_mamba_kernels": False,
        "mamba_d_state": 4,
    },
    "lfm2": {
        "intermediate_size": 32,
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    },
    "qwen3_next": {
        "intermediate_size": 32,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
}


@pytest.mark.parametrize("model_type", HYBRIDS)
def test_only_the_attention_layers_of_a_hybrid_open(model_type):
    model = tiny(model_type, **HYBRIDS[model_type])
    with pytest.raises(UnsupportedModelError, match=r'layers 0,2 .*plan "layers:1,3"'):
        apply_plan(model, parse("1111"))
    apply_plan(model, parse("layers:1,3"))
    assert check_plan(model).measured == (0, 7, 0, 7)
    assert not can_pack(model)
    with pytest.raises(UnsupportedModelError, match="padded batches"):
        packed_kwargs(model, [3, 4], "cpu")


def test_soft_caps_and_sinks_take_the_eager_backend():
    for name in ("gemma2", "gpt_oss", "falcon"):
        model = BY_NAME[name].model()
        with pytest.raises(UnsupportedModelError, match="backend eager"):
            apply_plan(model, parse("0011"), "sdpa")
        assert apply_plan(model, parse("0011"), "auto") == "eager"
    with pytest.raises(RecipeError, match="flash"):
        apply_plan(BY_NAME["llama"].model(), parse("0011"), "flash")


def test_another_number_of_layers():
    with pytest.raises(UnsupportedModelError, match="4 layers, but the plan has 6"):
        apply_plan(BY_NAME["llama"].model(), MaskPlan.causal(6))


def test_which_configs_are_encoders():
    for name in ("bert", "roberta", "modernbert", "deberta-v2", "xlm-roberta", "electra"):
        assert is_encoder(CONFIG_MAPPING[name]())
    for name in ("llama", "gpt2", "modernbert-decoder", "t5", "bart"):
        assert not is_encoder(CONFIG_MAPPING[name]())


def test_positions_start_at_the_first_token():
    model = BY_NAME["gpt2"].model()
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]])
    kwargs = padded_kwargs(model, mask)
    assert kwargs["position_ids"].tolist() == [[0, 0, 0, 1], [0, 1, 2, 2], [0, 1, 2, 3]]
    assert kwargs["attention_mask"] is mask
    assert padded_kwargs(model, None) == {}


def test_packed_positions_restart():
    model = BY_NAME["gpt2"].model()
    assert not can_pack(model)  # no plan, no packing: stock attention would run across the borders
    apply_plan(model, parse("0011"))
    kwargs = packed_kwargs(model, [3, 2], "cpu")
    assert kwargs["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert kwargs["attention_mask"].flatten().tolist() == [0, 3, 5]


def test_llama4_rows_stay_below_its_temperature_scale():
    model = BY_NAME["llama4_text"].model(floor_scale=6)
    apply_plan(model, parse("0011"))
    with pytest.raises(UnsupportedModelError, match="within 5 tokens"):
        packed_kwargs(model, [3, 4], "cpu")
    with pytest.raises(UnsupportedModelError, match="within 5 tokens"):
        padded_kwargs(model, torch.ones(1, 6, dtype=torch.long))
    assert packed_kwargs(model, [3, 2], "cpu")


def test_no_plan_no_probe():
    with pytest.raises(UnsupportedModelError, match="no plan"):
        probe(BY_NAME["llama"].model())
