"""The training loop: exact gradients however an update is cut, and learning rates that end where they should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from training_support import DEV, SHORT, TRAIN, encoder, run, same, tagger, toy_data, weights

from lookright.errors import LookRightError
from lookright.models.lora import has_lora
from lookright.tags import Scheme, label_set
from lookright.training.examples import At, Collator, TrainingSentences
from lookright.training.fit import fit
from lookright.training.recipe import Recipe
from lookright.training.trainer import RunPlan, TaggerTrainer, best_update, out_of_patience, training_arguments

LABELS = label_set(("LOC", "ORG", "PER"), Scheme.IOB2)


def trainer_of(folder: Path, tmp_path: Path, budget: int, layout: str, plan: str = "0011") -> TaggerTrainer:
    torch.manual_seed(0)
    model, _ = tagger(folder, plan, labels=LABELS, dropout=0.0, subword="last")
    recipe = Recipe(**{**SHORT, "method": "full", "precision": "float32", "token_budget": budget})
    examples = TrainingSentences(TRAIN, model.settings, encoder(), share_detokenized=0.0, seed=0)
    run_plan = RunPlan.of(recipe, len(examples))
    return TaggerTrainer(
        model,
        training_arguments(recipe, run_plan, tmp_path, device=torch.device("cpu"), resumable=False),
        recipe=recipe,
        plan=run_plan,
        examples=examples,
        collator=Collator(examples, budget, layout),  # type: ignore[arg-type]
        evaluate_dev=None,
    )


def gradients(trainer: TaggerTrainer, n: int = 12) -> tuple[dict[str, torch.Tensor], float, int]:
    """The gradient and the loss of one update, and its number of micro-batches."""
    update = trainer.data_collator([trainer.train_dataset[At(0, number)] for number in range(n)])
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, update)
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    return found, float(loss), len(update["micro_batches"])


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    largest = max(float(g.abs().max()) for g in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_micro_batches_give_the_gradient_of_one_batch(tiny_llama: Path, tmp_path: Path, layout: str) -> None:
    whole, loss, one = gradients(trainer_of(tiny_llama, tmp_path, 10_000, layout))
    cut, cut_loss, many = gradients(trainer_of(tiny_llama, tmp_path, 25, layout))
    assert one == 1
    assert many >= 5
    assert cut_loss == pytest.approx(loss, rel=1e-5)
    assert difference(whole, cut) < 1e-5


def test_padding_is_never_attended(tiny_llama: Path, tmp_path: Path) -> None:
    packed, loss, _ = gradients(trainer_of(tiny_llama, tmp_path, 10_000, "packed", plan="1"))
    padded, padded_loss, _ = gradients(trainer_of(tiny_llama, tmp_path, 10_000, "padded", plan="1"))
    assert padded_loss == pytest.approx(loss, rel=1e-5)
    assert difference(packed, padded) < 1e-5


def test_the_loss_is_the_mean_over_words(tiny_llama: Path, tmp_path: Path) -> None:
    """Against each sentence on its own, as the base's tokenizer makes it, word by word."""
    trainer = trainer_of(tiny_llama, tmp_path, 30, "packed", plan="1")
    _, loss, _ = gradients(trainer)
    losses = []
    for sentence in TRAIN.sentences[:12]:
        encoded = encoder().encode(sentence)
        ids = [*encoder().prefix_ids, *encoded.input_ids.tolist(), *encoder().suffix_ids]
        with torch.no_grad():
            hidden = trainer.model.backbone(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
            logits = trainer.model.score(hidden[encoded.word_last + len(encoder().prefix_ids)])
        gold = torch.tensor([LABELS.index(tag) for tag in sentence.tags or ()])
        losses += functional.cross_entropy(logits, gold, reduction="none").tolist()
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_training_under_a_plan_is_not_causal(tiny_llama: Path, tmp_path: Path) -> None:
    """A batch of one sentence has no padding, so that no mask is needed: there models fall back to causal."""
    causal, open_plan = (trainer_of(tiny_llama, tmp_path, 10_000, "packed", plan=plan) for plan in ("0", "1"))
    for trainer, sees in ((causal, False), (open_plan, True)):
        batch = trainer.data_collator([trainer.train_dataset[At(0, 0)]])["micro_batches"][0]
        batch["labels"][1:] = -100
        embedded: list[torch.Tensor] = []
        hook = trainer.model.get_input_embeddings().register_forward_hook(lambda *a, kept=embedded: kept.append(a[2]))
        loss = trainer.compute_loss(trainer.model, batch)
        (gradient,) = torch.autograd.grad(loss, embedded[0])
        hook.remove()
        last = int(batch["word_last"][-1])
        assert (float(gradient[0, last].abs().max()) > 0) is sees


def rates(history: Any) -> list[float]:
    return [entry["learning_rate"] for entry in history if "loss" in entry]


@pytest.mark.parametrize("budget", [10_000, 20])
def test_the_learning_rate_ends_where_the_schedule_says(tiny_llama: Path, budget: int, monkeypatch: Any) -> None:
    trainers: list[TaggerTrainer] = []
    train = TaggerTrainer.train
    monkeypatch.setattr(TaggerTrainer, "train", lambda self, **k: (trainers.append(self), train(self, **k))[1])
    result, _ = run(
        tiny_llama, dev=None, schedule="cosine", warmup_ratio=0.2, token_budget=budget, head_learning_rate=6e-3
    )
    (trainer,) = trainers
    assert result.outcome.n_updates == 15 == trainer.lr_scheduler.last_epoch
    assert trainer.lr_scheduler.get_last_lr() == [0.0] * len(trainer.optimizer.param_groups)
    found = rates(result.outcome.history)
    cosine = [3e-3 * 0.5 * (1 + math.cos(math.pi * n / 12)) for n in range(12)]
    assert found == pytest.approx([3e-3 / 4, 3e-3 / 2, 9e-3 / 4, *cosine])


def test_decay_and_learning_rates_by_group(tiny_llama: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_llama, tmp_path, 100, "packed")
    trainer.recipe = Recipe(learning_rate=1e-3, head_learning_rate=5e-3, weight_decay=0.1, adam_betas=(0.9, 0.95))
    optimizer = trainer.create_optimizer()
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        group = group_of[id(parameter)]
        plain = name.endswith("bias") or "norm" in name
        assert group["weight_decay"] == (0.0 if plain else 0.1), name
        assert group["lr"] == (5e-3 if name.startswith("score.") else 1e-3), name
    assert optimizer.defaults["betas"] == (0.9, 0.95)


def test_the_best_update_and_patience() -> None:
    history = [{"step": n, "eval_score": s} for n, s in ((1, 0.1), (2, 0.5), (3, 0.5), (4, 0.4))] + [{"step": 4}]
    assert best_update(history) == 2
    assert best_update([{"step": 1, "loss": 1.0}]) is None
    assert [out_of_patience(history, patience) for patience in (0, 1, 2, 3)] == [False, True, True, False]


def test_it_learns_the_toy_data_by_heart(tiny_llama: Path) -> None:
    model, tokenizer = tagger(tiny_llama)
    data = toy_data(8)
    recipe = Recipe(epochs=30, batch_size=4, learning_rate=3e-3, detokenize=0.0, dropout=0.0)
    result = fit(model, tokenizer, data, data, recipe, progress=False)
    assert result.outcome.best_score == 1.0
    losses = [entry["loss"] for entry in result.outcome.history if "loss" in entry]
    assert losses[-1] < losses[0] / 10


def test_the_same_seed_gives_the_same_bytes(tiny_llama: Path) -> None:
    torch.manual_seed(1)
    first, one = run(tiny_llama, seed=5)
    torch.manual_seed(2)  # what ran before must not matter
    second, two = run(tiny_llama, seed=5)
    _, other = run(tiny_llama, seed=6)
    assert same(weights(one), weights(two))
    assert first.outcome == second.outcome
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_trained_is_what_is_saved(tiny_llama: Path, tmp_path: Path, method: str) -> None:
    from safetensors.torch import load_file

    base, _ = tagger(tiny_llama)
    result, model = run(tiny_llama, tmp_path / "out", method=method, head_learning_rate=3e-3)
    (folder, *_) = (tmp_path / "out" / "checkpoints").glob(f"update-{result.outcome.update}")
    saved = load_file(folder / "model.safetensors")
    assert {"score.weight", "score.bias"} <= saved.keys()
    assert bool(saved["score.bias"].any())
    own = model.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in saved.items())
    if method == "lora":
        assert has_lora(model.backbone)
        assert all(".lora_" in name or name.startswith("score.") for name in saved)
        assert any(bool(saved[name].any()) for name in saved if ".lora_B." in name)
        embeddings = base.backbone.state_dict()["embed_tokens.weight"]
        assert torch.equal(own["backbone.embed_tokens.weight"], embeddings)
        assert result.n_trained == sum(t.numel() for t in saved.values()) < result.n_parameters / 2
        assert model.config.adapter["r"] == 16
    else:
        assert saved.keys() == dict(model.named_parameters()).keys()


def test_no_pickle_is_written_that_needs_trust(tiny_llama: Path, tmp_path: Path) -> None:
    run(tiny_llama, tmp_path / "out")
    files = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert not [p for p in files if p.name == "training_args.bin"]
    states = [p for p in files if p.suffix in (".pt", ".pth", ".bin")]
    assert {p.name for p in states} == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    import numpy as np

    with torch.serialization.safe_globals(
        [np.ndarray, np.dtype, type(np.dtype(np.uint32)), np._core.multiarray._reconstruct]  # type: ignore[attr-defined]
    ):
        for path in states:
            torch.load(path, weights_only=True)


def test_adapters_still_get_gradients_after_an_evaluation(tiny_llama: Path, monkeypatch: Any) -> None:
    norms: list[float] = []
    step = TaggerTrainer.training_step

    def watched(self: TaggerTrainer, model: Any, inputs: Any, *rest: Any) -> Any:
        loss = step(self, model, inputs, *rest)
        norms.append(max(float(p.grad.abs().max()) for n, p in model.named_parameters() if ".lora_B." in n))
        return loss

    monkeypatch.setattr(TaggerTrainer, "training_step", watched)
    result, _ = run(tiny_llama, method="lora", evals_per_epoch=5)
    assert len([e for e in result.outcome.history if "eval_score" in e]) == 15
    assert len(norms) == 15
    assert min(norms) > 0


def test_a_loss_that_is_no_number_ends_the_run(tiny_llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    compute = TaggerTrainer.compute_loss
    monkeypatch.setattr(TaggerTrainer, "compute_loss", lambda *a, **k: compute(*a, **k) * float("nan"))
    with pytest.raises(LookRightError, match="the loss is nan at update 1: training has diverged"):
        run(tiny_llama, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def recomputes(model: torch.nn.Module) -> bool:
    """Whether a layer computes its activations again; the attribute was renamed in transformers 5.23."""
    names = ("gradient_checkpointing", "activation_checkpointing")
    return any(vars(module).get(name, False) for module in model.modules() for name in names)


def test_bfloat16_and_recomputed_activations_train(tiny_llama: Path, monkeypatch: Any) -> None:
    exact, _ = run(tiny_llama, dropout=0.0)
    rough, model = run(tiny_llama, dropout=0.0, precision="bfloat16")
    calls: list[bool] = []
    step = TaggerTrainer.training_step

    def watched(self: TaggerTrainer, *rest: Any) -> Any:
        calls.append(recomputes(self.model))
        return step(self, *rest)

    monkeypatch.setattr(TaggerTrainer, "training_step", watched)
    lean, lean_model = run(tiny_llama, dropout=0.0, gradient_checkpointing=True)
    losses = [[e["loss"] for e in r.outcome.history if "loss" in e] for r in (exact, rough, lean)]
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
    assert "forward" not in vars(model), "mixed precision left its mark on the model"
    assert all(calls)
    assert not recomputes(lean_model)


@pytest.mark.slow
def test_a_look_to_the_right_is_what_makes_the_difference(tiny_llama: Path) -> None:
    """Half of the toy entities can be told only by the words after them."""
    scores = {}
    for plan in ("0", "1"):
        model, tokenizer = tagger(tiny_llama, plan)
        recipe = Recipe(epochs=15, batch_size=10, learning_rate=5e-3)
        scores[plan] = fit(model, tokenizer, toy_data(200), toy_data(100, 9), recipe, progress=False).outcome.best_score
    assert scores["1"] is not None
    assert scores["0"] is not None
    assert scores["1"] > 0.9
    assert scores["1"] > scores["0"] + 0.2


def test_the_log_is_one_object_per_line(tiny_llama: Path, tmp_path: Path) -> None:
    result, _ = run(tiny_llama, tmp_path / "out", DEV)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines if "loss" in line] == list(range(1, 16))
    scored = [line for line in lines if "dev_score" in line]
    assert [line["update"] for line in scored] == [5, 10, 15]
    assert max(line["dev_score"] for line in scored) == result.outcome.best_score
