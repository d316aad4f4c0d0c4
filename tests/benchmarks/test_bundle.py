"""The script that bundles a base: it takes the outcome of its recipe, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lookright.models.bundled import bundled_folder

BASES = Path(__file__).resolve().parents[2] / "bases"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("bundle", BASES / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TARGET", tmp_path / "assets" / "nano")
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled base with the account of a run."""
    folder = shutil.copytree(bundled_folder(), tmp_path / "nano")
    shutil.copy(BASES / "lookright-nano.toml", folder / "recipe.toml")
    (folder / "log.jsonl").write_text('{"epoch": 0.5, "loss": 4.0}\n')
    account = {
        "result": {"held_out_loss": 3.9, "tokens_per_second": 5000.0},
        "outcome": {"n_updates": 4900},
        "train": {"tokens": 70_000_000},
        "dev": {"tokens": 100_000, "scored": 90_000},
        "machine": {"device": "cpu", "cores": 2},
    }
    (folder / "run.json").write_text(json.dumps(account))
    return folder


def call(bundle: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bundle.py", str(folder)])
    bundle.main()


def test_it_is_put_into_place_at_once(bundle: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        call(bundle, folder, monkeypatch)
        assert sorted(p.name for p in bundle.TARGET.iterdir()) == sorted([*bundle.FILES, "README.md"])
        assert [p.name for p in bundle.TARGET.parent.iterdir()] == ["nano"]
    assert "90,000 sub-words" in (bundle.TARGET / "README.md").read_text()
    assert "3.9" in (bundle.TARGET / "README.md").read_text()


@pytest.mark.parametrize("what", ["empty", "recipe", "size", "speed"])
def test_what_it_refuses_is_one_line(what: str, bundle: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        "empty": "has no config.json",
        "recipe": "objective is 'mlm', and not 'clm'",
        "size": "bytes; expected",
        "speed": "no held-out loss or no speed",
    }[what]
    if what == "empty":
        folder = folder.parent / "none"
    elif what == "recipe":
        text = (folder / "recipe.toml").read_text().replace('objective = "clm"', 'objective = "mlm"')
        (folder / "recipe.toml").write_text(text)
    elif what == "size":
        (folder / "model.safetensors").write_bytes(bytes(25_000_001))
    else:
        (folder / "run.json").write_text('{"result": {"held_out_loss": null}}')
    with pytest.raises(SystemExit, match=words):
        call(bundle, folder, monkeypatch)
    assert not bundle.TARGET.exists()
