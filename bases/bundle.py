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
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src" / "lookright" / "assets" / "nano"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MOST_BYTES = 25_000_000

CARD = Path(__file__).with_name("lookright-nano.md")


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
        "held_out": account["dev"]["tokens"],
        "machine": f"{machine['cores']} processor cores" if machine["device"] == "cpu" else machine["device"],
        "hours": round(passes * corpus) / result["tokens_per_second"] / 3600,
        "speed": result["tokens_per_second"],
    }


def main() -> None:
    """Check the size, write the card, copy the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    size = sum((folder / name).stat().st_size for name in FILES)
    if size > MOST_BYTES:
        sys.exit(f"{folder} takes {size:,} bytes; expected {MOST_BYTES:,} at most")
    card = CARD.read_text(encoding="utf-8").format(**figures(folder))
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(folder / name, TARGET / name)
    (TARGET / "README.md").write_text(card, encoding="utf-8")
    sys.stdout.write(card)


if __name__ == "__main__":
    main()
