"""`lookright info`: what a model is, and what a plan does in it, measured."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from lookright.cli.libraries import calm
from lookright.cli.output import as_json, data
from lookright.cli.parser import add_json_argument
from lookright.cli.recipe_flags import add_some_recipe_arguments, recipe_from
from lookright.cli.trouble import complain

if TYPE_CHECKING:
    from lookright.models.settings import TaggerSettings
    from lookright.training.recipe import Recipe

EXAMPLES = """
lookright info my-base
lookright info my-base --plan 0011
lookright info my-base --plan 0,0,2,* --backend eager
lookright info my-tagger --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the plan to draw in it."""
    parser.add_argument("model", metavar="MODEL", help="folder of a base or a saved tagger, or its name on the hub")
    add_json_argument(parser)
    add_some_recipe_arguments(parser, "What is loaded", ("plan", "backend", "revision", "trust_remote_code"))


def run(args: argparse.Namespace) -> int:
    """Describe the model; exit code 1 when its plan does not hold."""
    from lookright.models.base import resolve_folder
    from lookright.models.store import is_tagger_folder

    calm(quiet=args.quiet)
    recipe = recipe_from(args)
    say_what_a_plan_means(recipe.plan, quiet=args.quiet)
    folder = resolve_folder(args.model, revision=recipe.revision, trust_remote_code=recipe.trust_remote_code)
    facts, drawing = (_of_tagger if is_tagger_folder(folder) else _of_base)(args.model, recipe)
    if args.json:
        as_json(facts)
    else:
        data(_lines(facts))
        data(f"\n{drawing}\n" if drawing else "")
    for problem in facts["plan"]["problems"] if facts["plan"] else []:
        complain(f"the plan does not hold: {problem}")
    return 1 if facts["plan"] and facts["plan"]["problems"] else 0


def say_what_a_plan_means(plan: Any, *, quiet: bool) -> None:
    """Say what a comma form of only 0s and 1s means, since it is easily taken for the digit form."""
    from lookright.plan import ambiguity_note

    note = ambiguity_note(plan) if plan is not None else None
    if note and not quiet:
        complain(note, kind="note")


def _of_base(name: str, recipe: Recipe) -> tuple[dict[str, Any], str]:
    from lookright.models.base import load_base

    base = load_base(
        name,
        plan=recipe.plan,
        backend=recipe.backend,
        dtype="auto",
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        check=False,
    )
    return _facts(name, "base", base.backbone, recipe)


def _of_tagger(name: str, recipe: Recipe) -> tuple[dict[str, Any], str]:
    from lookright.errors import RecipeError
    from lookright.models.headed import HeadedModel
    from lookright.models.store import load_model

    if recipe.plan is not None:
        raise RecipeError(f"{name} is a saved model, which has its own plan; leave --plan out, or give its base")
    loaded = load_model(
        name,
        HeadedModel,
        backend=recipe.backend,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        check=False,
    )
    kind = loaded.model.config.task
    facts, drawing = _facts(name, "tagger" if kind == "tags" else "classifier", loaded.model.backbone, recipe)
    of_base = {"base": loaded.model.config.base.get("name"), "adapter": loaded.model.config.adapter}
    if kind == "tags":
        facts["tagger"] = {**_tagger_facts(loaded.settings), **of_base}
    else:
        facts["classifier"] = {**loaded.settings.to_dict(), **of_base}
    return facts, drawing


def _facts(name: str, kind: str, backbone: Any, recipe: Recipe) -> tuple[dict[str, Any], str]:
    """The facts of a backbone, and the drawing of its plan with what the probe measured."""
    from lookright.attention import can_pack, is_encoder, probe

    text = backbone.config.get_text_config()
    encoder = is_encoder(backbone.config)
    facts: dict[str, Any] = {
        "model": name,
        "kind": kind,
        "family": text.model_type + (" (encoder)" if encoder else ""),
        "layers": text.num_hidden_layers,
        "hidden": text.hidden_size,
        "parameters": sum(math.prod(p.shape) for p in backbone.parameters()),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "backends": [],
        "packing": False,
        "plan": None,
    }
    if encoder:
        return facts, ""
    facts["backends"] = _backends(backbone, recipe.backend)
    facts["packing"] = can_pack(backbone)
    report = probe(backbone)
    plan = report.plan
    facts["plan"] = {
        "spec": str(plan),
        "right_contexts": plan.to_list(),
        "words": plan.describe(),
        "look_ahead": plan.look_ahead,
        "measured": list(report.measured),
        "probe_length": report.length,
        "paths": [path.path for path in report.paths],
        "problems": list(report.problems),
    }
    seen = f"measured with {report.length} sub-words on the paths {', '.join(facts['plan']['paths'])}"
    return facts, f"{plan.draw(report.measured)}\n{plan.describe()}\n({seen})"


def _backends(backbone: Any, wanted: str) -> list[str]:
    """The attention implementations that can carry the model's plan; the wanted one is in use afterwards."""
    from lookright.attention import apply_plan, current_plan
    from lookright.errors import UnsupportedModelError

    plan = current_plan(backbone)
    if plan is None:
        return []
    found = []
    for backend in ("sdpa", "eager"):
        try:
            apply_plan(backbone, plan, backend)
        except UnsupportedModelError:
            continue
        found.append(backend)
    apply_plan(backbone, plan, wanted)
    return found


def _tagger_facts(settings: TaggerSettings) -> dict[str, Any]:
    return {
        "types": list(settings.types),
        "scheme": str(settings.scheme),
        "labels": list(settings.labels),
        "subword": settings.subword,
        "window": settings.window,
        "context": settings.context,
        "decode": settings.decode,
    }


def _lines(facts: dict[str, Any]) -> str:
    """The facts as lines for people."""
    rows = {
        facts["kind"]: facts["model"],
        "family": facts["family"],
        "layers": f"{facts['layers']}, {facts['hidden']} wide",
        "parameters": f"{facts['parameters']:,} ({facts['dtype']})",
    }
    if facts["plan"]:
        rows["backends"] = ", ".join(facts["backends"])
        rows["packing"] = "yes: short sentences share a row" if facts["packing"] else "no: batches are padded"
    tagger = facts.get("tagger")
    if tagger:
        rows["types"] = ", ".join(tagger["types"])
        rows["scheme"] = f"{tagger['scheme']}, {len(tagger['labels'])} labels"
        rows["reads"] = f"the {tagger['subword']} sub-word, windows of {tagger['window']}, per {tagger['context']}"
    classifier = facts.get("classifier")
    if classifier:
        labels = classifier["labels"]
        rows["target"] = classifier["target"]
        rows["labels"] = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
        rows["reads"] = f"pooled by {classifier['pooling']}, windows of {classifier['window']}"
        if classifier["target"] != "regression":
            heat = classifier["temperature"]
            rows["decides"] = ("no temperature fitted" if heat == 1 else f"temperature {heat:.3f}") + (
                ", a threshold for each label" if classifier["thresholds"] else ""
            )
    made = tagger or classifier
    if made:
        rows["from base"] = str(made["base"])
        rows["weights"] = f"adapter, rank {made['adapter']['r']}" if made["adapter"] else "whole"
    return "".join(f"{name:<12}{value}\n" for name, value in rows.items())
