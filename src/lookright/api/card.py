"""The model card of a saved tagger: what it is, how good it is and by which measure, and how to run it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import lookright
from lookright.api.report import Report
from lookright.models.settings import TaggerSettings
from lookright.plan import MaskPlan
from lookright.tags import Scheme

SNIPPET = """\
from lookright import Tagger

tagger = Tagger.from_pretrained(".")  # this folder, wherever it is, or its name on a hub
for span in tagger.predict("Angela Merkel visited Zagreb."):
    print(span.type, span.text, span.start, span.end, round(span.score, 2))
"""
LICENCE = (
    "## Licence\n\nNot stated yet: the owner of this model must fill it in, here and in the metadata. The licences of "
    "the base model and of the training data apply as well."
)
SUBWORDS = {"first": "its first sub-word", "last": "its last sub-word", "mean": "the mean of its sub-words"}
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "numpy")


@dataclass(frozen=True)
class Training:
    """What is known about the training of a tagger.

    Attributes:
        data: path and hash of each data set by its role (`train`, `dev`).
        recipe: the options that were used, by name.
        notes: sentences that people should read, such as how the checkpoint was chosen.
    """

    data: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def model_card(
    settings: TaggerSettings,
    *,
    base: Mapping[str, Any],
    plan: MaskPlan | None,
    adapter: Mapping[str, Any] | None = None,
    reports: Mapping[str, Report] | None = None,
    training: Training | None = None,
    name: str = "tagger",
) -> str:
    """The text of `README.md`: YAML metadata as hubs read it, then Markdown.

    Args:
        settings: the tagger's.
        base: name, revision and fingerprint of its base.
        plan: its mask plan; None for an encoder.
        adapter: the settings of the adapter where the folder holds one.
        reports: evaluations by the name of their data (`dev`, `test`).
        training: what is known about the training.
        name: a name for the tagger in the metadata.
    """
    reports = reports or {}
    training = training or Training()
    parts = [
        _metadata(settings, base, reports, name),
        f"# {cell(name)}\n\nA sequence labeler made with LookRight {lookright.__version__}.",
        _usage(),
        _labels(settings),
        _model(settings, base, plan, adapter),
        _scores(reports),
        training_section(training),
        versions_section(),
        LICENCE,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _metadata(settings: TaggerSettings, base: Mapping[str, Any], reports: Mapping[str, Report], name: str) -> str:
    lines = ["---", "library_name: lookright", "pipeline_tag: token-classification", "license: unknown"]
    if is_hub_name(str(base.get("name", ""))):
        lines.append(f"base_model: {yaml_text(base['name'])}")
    lines += ["tags:", "- lookright", "- token-classification", "- sequence-labeling"]
    if settings.scheme is Scheme.PLAIN:
        lines.append("- part-of-speech")
    results = [(data, report) for data, report in reports.items() if report.headline[1] is not None]
    if results:
        lines += ["model-index:", f"- name: {yaml_text(name)}", "  results:"]
    for data, report in results:
        convention, value = report.headline
        kind = "accuracy" if settings.scheme is Scheme.PLAIN else "f1"
        lines += [
            "  - task:",
            "      type: token-classification",
            "    dataset:",
            f"      name: {yaml_text(file_name(report.data) or data)}",
            f"      type: {yaml_text(data)}",
            "    metrics:",
            f"    - type: {kind}",
            f"      name: {yaml_text(convention)}",
            f"      value: {value:.6f}",
        ]
    return "\n".join([*lines, "---"])


def _usage() -> str:
    pipeline = (
        'After `import lookright`, `transformers.pipeline("token-classification", model=...)` gives the same spans. '
        "Without it, transformers refuses the folder: it would not know the mask plan."
    )
    return f"## Use\n\n    pip install lookright\n\n```python\n{SNIPPET}```\n\n{pipeline}"


def _labels(settings: TaggerSettings) -> str:
    kind = "Tags" if settings.scheme is Scheme.PLAIN else "Types"
    types = ", ".join(f"`{code(t)}`" for t in settings.types) or "none"
    return f"## Labels\n\n{kind}: {types}. Tagging scheme: {settings.scheme}, {len(settings.labels)} labels."


def _model(
    settings: TaggerSettings, base: Mapping[str, Any], plan: MaskPlan | None, adapter: Mapping[str, Any] | None
) -> str:
    lines = base_lines(base, plan, adapter)
    lines.append(
        f"A word is read at {SUBWORDS[settings.subword]}; at most "
        f"{settings.window} sub-words at once, in overlapping windows, so that no word is left out; context: "
        f"{settings.context}; tags chosen by {settings.decode}; words by the rule "
        f"{_word_rule(settings.word_rule)}."
    )
    return "## Model\n\n" + "\n\n".join(lines)


def base_lines(base: Mapping[str, Any], plan: MaskPlan | None, adapter: Mapping[str, Any] | None) -> list[str]:
    """Paragraphs about the base, the plan and the adapter."""
    revision = f", revision `{code(str(base['revision']))}`" if base.get("revision") else ""
    name = str(base.get("name") or "unknown")
    shown = name if is_hub_name(name) else file_name(name)
    lines = [f"Base: `{code(shown or 'unknown')}`{revision} (weights `{str(base.get('fingerprint', ''))[:12]}`)."]
    if plan is None:
        lines.append("The base is an encoder: every layer sees the whole sentence.")
    else:
        lines.append(f"Mask plan: `{plan}`, that is: {plan.describe()}")
    if adapter is not None:
        lines.append(
            f"This folder holds an adapter ({cell(json.dumps(dict(adapter)))}) and the head; the base is apart."
        )
    return lines


def _word_rule(rule: Mapping[str, Any]) -> str:
    if rule.get("rule") != "learned":
        return f"`{code(json.dumps(dict(rule)))}`"
    exceptions = sum(len(value) for value in rule.values() if isinstance(value, list))
    return f"`learned` (the default one, with {exceptions} exceptions that the training words show; in config.json)"


def _scores(reports: Mapping[str, Report]) -> str:
    if not reports:
        return "## Scores\n\nNot evaluated yet."
    parts = ["## Scores"]
    for data, report in reports.items():
        convention, value = report.headline
        shown = "undefined" if value is None else f"{100 * value:.2f}"
        interval = ""
        if report.interval is not None:
            low, high = (100 * bound for bound in report.interval)
            interval = f" ({report.level:.0%} bootstrap interval {low:.2f} to {high:.2f})"
        where = f" `{code(file_name(report.data) or '')}`" if report.data else ""
        parts.append(
            f"On {cell(data)}{where}: **{convention}: {shown}**{interval}, over {report.scores.n_sentences:,} "
            f"sentences and {report.scores.n_words:,} words. Data hash `{report.data_hash[:16]}`."
        )
        rows = ["| | precision | recall | F1 | gold | predicted |", "|---|---:|---:|---:|---:|---:|"]
        for kind, score in report.scores.per_type.items():
            ratios = (score.precision, score.recall, score.f1)
            cells = ["-" if ratio is None else f"{100 * ratio:.2f}" for ratio in ratios]
            rows.append(f"| {cell(kind)} | {' | '.join(cells)} | {score.gold:,} | {score.predicted:,} |")
        parts.append("\n".join(rows))
        for words, counts in (
            ("Types unknown to the model, scored as missed", report.unknown_types),
            ("Gold that tags cannot carry, scored as missed", report.unreachable),
        ):
            if counts:
                parts.append(f"{words}: " + ", ".join(f"{cell(k)} ({n:,})" for k, n in counts.items()) + ".")
    return "\n\n".join(parts)


def training_section(training: Training) -> str:
    """What is known about the training, under its heading; nothing where nothing is."""
    lines = [
        f"- {cell(role)}: {f'`{code(file_name(path) or str())}`, ' if path else ''}hash `{digest[:16]}`"
        for role, (path, digest) in training.data.items()
    ]
    lines += [f"- {cell(note)}" for note in training.notes]
    if training.recipe:
        lines += ["", "| option | value |", "|---|---|"]
        lines += [f"| `{code(k)}` | {cell(_option(v))} |" for k, v in training.recipe.items() if v is not None]
    return "## Training\n\n" + "\n".join(lines) if lines else ""


def _option(value: Any) -> str:
    """A recipe's value; of a path only its last part, as a card is published and folders have private names."""
    if isinstance(value, str) and ("/" in value or "\\" in value) and not is_hub_name(value):
        return file_name(value) or value
    return str(value)


def versions_section() -> str:
    """What it was made with."""
    found = [f"lookright {lookright.__version__}", f"Python {platform.python_version()}"]
    found += [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    if torch.version.cuda:
        found.append(f"CUDA {torch.version.cuda}")
    return "## Versions\n\n" + ", ".join(found) + "."


def file_name(path: str | None) -> str | None:
    """The last part of a path: a card is published, and folders have private names."""
    return None if path is None else Path(path).name or path


def is_hub_name(name: str) -> bool:
    """Whether a name is that of a model on a hub, and no path."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None and not Path(name).exists()


def yaml_text(text: str) -> str:
    """A YAML string: JSON's are."""
    return json.dumps(text)


def cell(text: str) -> str:
    """Text that cannot break out of its Markdown line or table cell."""
    text = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def code(text: str) -> str:
    """Text that cannot break out of a Markdown code span."""
    return " ".join(text.split()).replace("`", "'").replace("|", "\\|")
