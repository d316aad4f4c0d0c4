"""The loss against transformers' own, packed against apart, leaks, and folders."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import toys
from families import FAMILIES, Family
from lookright import Tagger
from lookright.attention import can_pack, current_plan
from lookright.attention.architecture import bare_decoder
from lookright.errors import ModelFolderError, UnsupportedModelError
from lookright.models.base import install_plan, load_base
from lookright.models.language_model import load_language_model, save_base, summed_loss
from lookright.models.store import is_tagger_folder, load_tagger
from lookright.plan import MaskPlan
from lookright.training.pretraining.mask_token import mask_for, train_row
from lookright.training.pretraining.objectives import Objective, Targets
from lookright.training.pretraining.sequences import SequenceCollator

SIZES = (9, 4, 9, 2)


def llama(plan: str = "causal", seed: int = 0) -> Any:
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval()
    install_plan(bare_decoder(model), MaskPlan.parse(plan, 4), "auto")
    return model


def sequences(objective: Objective) -> list[Targets]:
    generator = np.random.default_rng(1)
    return [objective.targets(generator.integers(5, 60, size), generator) for size in SIZES]


def loss_of(model: Any, examples: list[Targets], layout: Any = "packed") -> Tensor:
    model.requires_grad_(False)
    return trained_loss_of(model, examples, layout)


def trained_loss_of(model: Any, examples: list[Targets], layout: Any = "packed") -> Tensor:
    batch = SequenceCollator(examples[0], 1000, layout, 0).batch(examples)
    return summed_loss(model, model, **batch)


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_the_causal_loss_is_that_of_transformers(layout: str) -> None:
    """LlamaForCausalLM's own loss of each sequence, summed over its targets."""
    model = llama()
    torch.manual_seed(0)
    stock = LlamaForCausalLM(copy.deepcopy(model.config)).eval()
    stock.load_state_dict(model.state_dict())
    stock.requires_grad_(False).set_attn_implementation("eager")
    examples = sequences(Objective("clm"))
    own = [
        float(stock(input_ids=(ids := torch.from_numpy(e.input_ids)[None]), labels=ids).loss) * len(e.target)
        for e in examples
    ]
    assert float(loss_of(model, examples, layout)) == pytest.approx(sum(own), rel=1e-5)


@pytest.mark.parametrize("name", ["clm", "mlm", "mntp"])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_together_is_apart(name: str, layout: str) -> None:
    model = llama({"clm": "causal", "mlm": "1", "mntp": "0,1,0,*"}[name])
    examples = sequences(Objective(name, 3, rate=0.4, vocab=60, special=range(5)))
    apart = sum(float(loss_of(model, [example])) for example in examples)
    assert float(loss_of(model, examples, layout)) == pytest.approx(apart, rel=1e-5)


def test_a_family_without_choice_of_logits_has_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama("1")
    examples = sequences(Objective("mntp", 3, vocab=60, special=range(5)))
    wanted = float(loss_of(model, examples))
    forward = type(model).forward

    class Other(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, use_cache: bool) -> Any:
            return forward(
                self, input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
            )

    model.__class__ = Other
    assert float(loss_of(model, examples)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "plan", "leaks"),
    [
        ("clm", "causal", False), ("clm", "0,0,1,0", True), ("clm", "1", True),
        ("mlm", "1", False), ("mntp", "0,2,0,*", False), ("mntp", "causal", False),
    ],
)  # fmt: skip
def test_no_prediction_depends_on_its_own_target(name: str, plan: str, leaks: bool) -> None:
    """Change what is to be predicted, with the masks as they are: the logits that predict it must not move."""
    model = llama(plan)
    objective = Objective(name, 3, rate=0.3, masking="always", vocab=60, special=range(5))
    shift = 0 if name == "mlm" else 1
    ids = np.random.default_rng(0).integers(5, 60, 20)
    example = objective.targets(ids, np.random.default_rng(2))

    def logits(seen: np.ndarray) -> Tensor:
        from lookright.attention import packed_kwargs

        rows = torch.from_numpy(seen)[None]
        with torch.no_grad():
            return model(input_ids=rows, **packed_kwargs(model, [len(seen)], "cpu")).logits[0]

    before = logits(example.input_ids)
    moved = []
    for place in example.source:
        other = ids.copy()
        other[place + shift] = 5 + (other[place + shift] - 4) % 55
        assert other[place + shift] != ids[place + shift]
        again = objective.targets(other, np.random.default_rng(2))
        assert np.array_equal(again.source, example.source)
        moved.append(not torch.equal(logits(again.input_ids)[place], before[place]))
    assert any(moved) == leaks


def test_the_output_before_a_mask_predicts_it() -> None:
    """mntp takes the logits at i - 1, and mlm those at i, by hand."""
    ids = np.arange(10, 22)
    for name, shift in (("mntp", 1), ("mlm", 0)):
        model = llama("1")
        example = Objective(name, 3, vocab=60, special=range(5), rate=0.5).targets(ids, np.random.default_rng(0))
        logits = model(input_ids=torch.from_numpy(example.input_ids)[None]).logits[0].log_softmax(-1)
        masked = [place + shift for place in example.source]
        by_hand = -sum(float(logits[i - shift, ids[i]]) for i in masked)
        assert float(loss_of(model, [example])) == pytest.approx(by_hand, rel=1e-5)


def test_a_folder_after_clm_is_an_ordinary_one(clm_base: Path) -> None:
    """Read by transformers in a process that does not know us."""
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer; import torch\n"
        "m = AutoModelForCausalLM.from_pretrained(sys.argv[1]); t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "ids = t('Jordan smiled', return_tensors='pt').input_ids\n"
        "print(type(m).__name__, m.config._attn_implementation, t.mask_token, 'lookright' in sys.modules)\n"
        "more = m.generate(ids, max_new_tokens=3, do_sample=False)\n"
        "print(more.shape[1] > ids.shape[1], float(m(ids, labels=ids).loss))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(clm_base)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "LlamaForCausalLM sdpa <mask> False"
    assert second.startswith("True ")
    assert "lookright" not in (clm_base / "config.json").read_text()
    assert load_base(clm_base, plan="0011").plan == MaskPlan.parse("0011", 4)


def test_a_folder_after_mntp_is_refused_by_transformers(mntp_base: Path) -> None:
    code = "import sys; from transformers import AutoModel; AutoModel.from_pretrained(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(mntp_base)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "lookright" in done.stderr
    with pytest.raises(ValueError, match="LookRightConfig"):
        AutoModelForCausalLM.from_pretrained(mntp_base)


def test_a_folder_after_mntp_carries_its_plan(mntp_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    carried = MaskPlan.parse("0,2,0,*", 4)
    with caplog.at_level("INFO", "lookright"):
        base = load_base(mntp_base)
    assert base.plan == current_plan(base.backbone) == carried
    assert "the base carries the plan 0,2,0,*, which is taken" in caplog.text
    with caplog.at_level("INFO", "lookright"):
        assert load_base(mntp_base, plan="causal").plan == MaskPlan.causal(4)
    assert "carries the plan 0,2,0,*; 0 is asked for" in caplog.text
    assert not any("lora" in name for name in base.backbone.state_dict())
    found = load_language_model(mntp_base)
    assert found.carried == carried.right_contexts
    stored = dict(found.model.model.named_parameters())
    assert all(torch.equal(stored[name], p) for name, p in base.backbone.named_parameters())


def test_a_base_with_a_plan_is_no_tagger(mntp_base: Path, tmp_path: Path) -> None:
    assert not is_tagger_folder(mntp_base)
    with pytest.raises(ModelFolderError, match=r"a base that carries its plan; train one from it"):
        load_tagger(mntp_base)
    tagger = Tagger.from_pretrained(mntp_base, labels=["PER"], device="cpu")
    assert tagger.plan == MaskPlan.parse("0,2,0,*", 4)
    tagger.save_pretrained(tmp_path / "tagger")
    with pytest.raises(ModelFolderError, match="holds a saved tagger; expected a base"):
        load_base(tmp_path / "tagger")
    with pytest.raises(ModelFolderError, match="holds a saved tagger; expected a base"):
        load_language_model(tmp_path / "tagger")
    assert Tagger.from_pretrained(tmp_path / "tagger", device="cpu").plan == tagger.plan


def test_a_bare_folder_gets_a_tied_head(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "lookright"):
        found = load_language_model(tiny_llama)
    assert "a new one is tied to its embeddings" in caplog.text
    assert found.model.lm_head.weight is found.model.get_input_embeddings().weight


def test_a_folder_without_some_weights_is_refused(tmp_path: Path) -> None:
    folder = toys.llama_folder(tmp_path / "base", head=True)
    state = load_file(folder / "model.safetensors")
    del state["model.layers.2.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=r"layers.2.mlp.up_proj.weight' are not there"):
        load_language_model(folder)


def test_an_encoder_is_refused(tiny_encoder: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="bert is an encoder"):
        load_language_model(tiny_encoder)


def test_saving_is_whole_or_not_at_all(tmp_path: Path, clm_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_language_model(clm_base)
    folder = save_base(tmp_path / "out", found.model, found.tokenizer, carry=False, extra_files={"README.md": "one"})
    (folder / "run.json").write_text('{"command": "pretrain"}')
    monkeypatch.setattr(type(found.tokenizer), "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(Exception, match="the disk is full; nothing there was changed"):
        save_base(folder, found.model, found.tokenizer, carry=True, extra_files={"README.md": "two"})
    assert (folder / "README.md").read_text() == "one"
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(folder).mask_token == "<mask>"


def test_which_mask_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = toys.llama_folder(tmp_path / "base", head=True)

    def masked(objective: str, wanted: str | None = None) -> tuple[Any, Any]:
        caplog.clear()
        found = load_language_model(folder)
        with caplog.at_level("INFO", "lookright"):
            return found, mask_for(found.model, found.tokenizer, objective, wanted)

    found, mask = masked("mntp")
    assert (found.tokenizer.convert_ids_to_tokens(mask.id), mask.new) == ("_", False)
    assert "'_' stands for masked sub-words" in caplog.text
    rows = found.model.get_input_embeddings().num_embeddings
    for objective, wanted, name in (("mlm", None, "<mask>"), ("mntp", "[M]", "[M]")):
        found, mask = masked(objective, wanted)
        assert (mask.id, mask.new, found.tokenizer.mask_token) == (rows, True, name)
        assert found.model.get_input_embeddings().num_embeddings == rows + 1
        assert f"{name!r} was added" in caplog.text
    _, mask = masked("mlm", "_")
    assert not mask.new


@pytest.mark.parametrize("load", [load_language_model, load_base])
def test_a_tokenizer_that_is_another_models(load: Any, clm_base: Path, tmp_path: Path) -> None:
    """It would make ids that have no embedding, and the run would end in an index that is out of range."""
    folder = shutil.copytree(clm_base, tmp_path / "base")
    toys.byte_bpe_tokenizer(vocab=600).save_pretrained(folder)
    with pytest.raises(ModelFolderError, match=r"tokenizer has [0-9]+ entries, but the model has embeddings for 400"):
        load(folder)


def test_only_the_new_row_is_trained() -> None:
    model = llama("1")
    model.requires_grad_(False)
    train_row(model.get_input_embeddings(), 3)
    trained_loss_of(model, sequences(Objective("mntp", 3, rate=0.5, vocab=60, special=range(5)))).backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[3].abs().sum() > 0
    assert gradient.abs().sum() == gradient[3].abs().sum()


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.named], ids=lambda f: f.name)
def test_families_have_their_own_causal_loss(family: Family) -> None:
    """Caps and scales behind the head included; each sequence alone, by the family's own forward and labels."""
    torch.manual_seed(0)
    stock = AutoModelForCausalLM.from_config(family.config()).eval().requires_grad_(False)
    model = copy.deepcopy(stock)
    install_plan(bare_decoder(model), MaskPlan.causal(4), "auto", check=False)
    examples = sequences(Objective("clm"))
    own = [
        float(stock(input_ids=(ids := torch.from_numpy(e.input_ids)[None]), labels=ids, use_cache=False).loss)
        * len(e.target)
        for e in examples
    ]
    for layout in ("packed", "padded") if can_pack(model) else ("padded",):
        assert float(loss_of(model, examples, layout)) == pytest.approx(sum(own), rel=1e-4)
