"""The model card of a saved text classifier: what it is, how good it is and by which measure, and how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lookright
from lookright.api.card import (
    LICENCE,
    Training,
    base_lines,
    cell,
    code,
    file_name,
    is_hub_name,
    training_section,
    versions_section,
    yaml_text,
)
from lookright.api.text_report import TextReport
from lookright.data.texts import Target
from lookright.models.text_settings import TextSettings
from lookright.plan import MaskPlan
from lookright.text_metrics import LabelScores

SNIPPET = """\
from lookright import TextClassifier

classifier = TextClassifier.from_pretrained(".")  # this folder, wherever it is, or its name on a hub
print(classifier.predict("The text to classify."))
"""
POOLINGS = {
    "last": "its last token",
    "mean": "the mean of its sub-words",
    "max": "the largest of each feature over its sub-words",
    "attention": "a mean of its sub-words with learned weights",
}
MOST_LABELS = 200
"""A card lists so many labels, and counts the rest."""


def text_model_card(
    settings: TextSettings,
    *,
    base: Mapping[str, Any],
    plan: MaskPlan | None,
    adapter: Mapping[str, Any] | None = None,
    reports: Mapping[str, TextReport] | None = None,
    training: Training | None = None,
    name: str = "classifier",
) -> str:
    """The text of `README.md`; the arguments are those of `lookright.api.card.model_card`."""
    reports = reports or {}
    pipeline = (
        'After `import lookright`, `transformers.pipeline("text-classification", model=...)` gives the same answers. '
        "Without it, transformers refuses the folder: it would not know the mask plan."
    )
    parts = [
        _metadata(base, reports, name),
        f"# {cell(name)}\n\nA text classifier made with LookRight {lookright.__version__}.",
        f"## Use\n\n    pip install lookright\n\n```python\n{SNIPPET}```\n\n{pipeline}",
        _labels(settings),
        "## Model\n\n" + "\n\n".join([*base_lines(base, plan, adapter), _reading(settings)]),
        _scores(reports),
        training_section(training or Training()),
        versions_section(),
        LICENCE,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _metadata(base: Mapping[str, Any], reports: Mapping[str, TextReport], name: str) -> str:
    lines = ["---", "library_name: lookright", "pipeline_tag: text-classification", "license: unknown"]
    if is_hub_name(str(base.get("name", ""))):
        lines.append(f"base_model: {yaml_text(base['name'])}")
    lines += ["tags:", "- lookright", "- text-classification"]
    results = [(data, report) for data, report in reports.items() if report.headline[1] is not None]
    if results:
        lines += ["model-index:", f"- name: {yaml_text(name)}", "  results:"]
    for data, report in results:
        convention, value = report.headline
        kind = {"accuracy": "accuracy", "micro F1": "f1"}.get(convention, "r_squared")
        lines += [
            "  - task:",
            "      type: text-classification",
            "    dataset:",
            f"      name: {yaml_text(file_name(report.data) or data)}",
            f"      type: {yaml_text(data)}",
            "    metrics:",
            f"    - type: {kind}",
            f"      name: {yaml_text(convention)}",
            f"      value: {value:.6f}",
        ]
    return "\n".join([*lines, "---"])


def _labels(settings: TextSettings) -> str:
    if settings.target == Target.REGRESSION:
        return f"## Result\n\nA number (mean {settings.mean:.4g}, deviation {settings.deviation:.4g} in training)."
    listed = ", ".join(f"`{code(label)}`" for label in settings.labels[:MOST_LABELS])
    if len(settings.labels) > MOST_LABELS:
        listed += f" and {len(settings.labels) - MOST_LABELS:,} more, in config.json"
    how = "one for each text" if settings.target == Target.SINGLE else "any number for each text"
    return f"## Labels\n\n{len(settings.labels):,} labels, {how}: {listed}."


def _reading(settings: TextSettings) -> str:
    text = (
        f"A text is read at {POOLINGS[settings.pooling]}, at most {settings.window} sub-words at once; longer texts "
        "run in overlapping windows, which are pooled, so that nothing is left out."
    )
    if settings.temperature != 1:
        text += f" Logits are divided by a temperature of {settings.temperature:.3f}, fitted on dev."
    if settings.thresholds:
        text += " Each label has a threshold of its own, tuned on dev (config.json)."
    return text


def _scores(reports: Mapping[str, TextReport]) -> str:
    if not reports:
        return "## Scores\n\nNot evaluated yet."
    parts = ["## Scores"]
    for data, report in reports.items():
        convention, value = report.headline
        where = f" `{code(file_name(report.data) or '')}`" if report.data else ""
        percent = isinstance(report.scores, LabelScores)
        scale = 100 if percent else 1
        shown = "undefined" if value is None else f"{scale * value:.2f}" if percent else f"{value:.4f}"
        interval = ""
        if report.interval is not None:
            low, high = (scale * bound for bound in report.interval)
            interval = f" ({report.level:.0%} bootstrap interval {low:.2f} to {high:.2f})"
        parts.append(
            f"On {cell(data)}{where}: **{convention}: {shown}**{interval}, over {report.scores.n_texts:,} texts. Data "
            f"hash `{report.data_hash[:16]}`."
        )
        if isinstance(report.scores, LabelScores):
            parts.append(_table(report.scores))
        if report.calibration is not None:
            parts.append(f"Expected calibration error: {100 * report.calibration.error:.2f} %.")
        if report.unknown_labels:
            listed = ", ".join(f"{cell(k)} ({n:,})" for k, n in report.unknown_labels.items())
            parts.append(f"Labels unknown to the model, scored as missed: {listed}.")
    return "\n\n".join(parts)


def _table(scores: LabelScores) -> str:
    rows = ["| | precision | recall | F1 | gold | given |", "|---|---:|---:|---:|---:|---:|"]
    for label, score in scores.per_label.items():
        cells = ["-" if ratio is None else f"{100 * ratio:.2f}" for ratio in (score.precision, score.recall, score.f1)]
        rows.append(f"| {cell(label)} | {' | '.join(cells)} | {score.gold:,} | {score.predicted:,} |")
    return "\n".join(rows)
