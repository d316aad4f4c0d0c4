"""Put a pretrained folder into the package as lookright-nano, with the card of lookright-nano.md, filled in.

    python bases/bundle.py NANO

NANO is the folder that `lookright pretrain --recipe bases/lookright-nano.toml` wrote. The figures on the card are read
from its run.json and its files; nothing of the training's own state goes along.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src" / "lookright" / "assets" / "nano"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MOST_BYTES = 25_000_000

CARD = Path(__file__).with_name("lookright-nano.md")
RECIPE = Path(__file__).with_name("lookright-nano.toml")


def figures(folder: Path) -> dict[str, Any]:
    """What the card says, from the account and the files of a run."""
    account = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    result, outcome = account["result"], account["outcome"]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    passes = max(entry["epoch"] for entry in log)
    corpus = account["train"]["tokens"]
    machine = account["machine"]
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        weights = sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118
    return {
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "intermediate": config["intermediate_size"],
        "weights": weights,
        "vocabulary": config["vocab_size"],
        "length": config["max_position_embeddings"],
        "seen": round(passes * corpus),
        "updates": outcome["n_updates"],
        "passes": passes,
        "corpus": corpus,
        "loss": result["held_out_loss"],
        "perplexity": math.exp(result["held_out_loss"]),
        "held_out": account["dev"]["scored"],
        "machine": f"{machine['cores']} processor cores" if machine["device"] == "cpu" else machine["device"],
        "hours": round(passes * corpus) / result["tokens_per_second"] / 3600,
        "speed": result["tokens_per_second"],
    }


def check(folder: Path) -> None:
    """Refuse what is not the outcome of the recipe of lookright-nano, in one line."""
    missing = [name for name in (*FILES, "run.json", "log.jsonl", "recipe.toml") if not (folder / name).is_file()]
    if missing:
        sys.exit(f"{folder} has no {missing[0]}; expected the folder of a finished lookright pretrain")
    size = sum((folder / name).stat().st_size for name in FILES)
    if size > MOST_BYTES:
        sys.exit(f"{folder} takes {size:,} bytes; expected {MOST_BYTES:,} at most")
    found, wanted = (tomllib.loads(path.read_text(encoding="utf-8")) for path in (folder / "recipe.toml", RECIPE))
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        name = other[0]
        sys.exit(f"{folder}: {name} is {found.get(name)!r}, and not {wanted[name]!r} as in {RECIPE.name}")
    result = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("result", {})
    if None in (result.get("held_out_loss"), result.get("tokens_per_second")):
        sys.exit(f"{folder}/run.json has no held-out loss or no speed, which the card needs; train it to the end")


def main() -> None:
    """Check the folder, write the card, and put everything into place at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    check(folder)
    card = CARD.read_text(encoding="utf-8").format(**figures(folder))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as place:
        stage, old = Path(place) / "new", Path(place) / "old"
        stage.mkdir()
        for name in FILES:
            shutil.copyfile(folder / name, stage / name)
        (stage / "README.md").write_text(card, encoding="utf-8")
        if TARGET.exists():
            TARGET.rename(old)
        stage.rename(TARGET)
    sys.stdout.write(card)


if __name__ == "__main__":
    main()
