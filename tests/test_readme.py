"""The README and the documentation, run: every shell command and every Python snippet, in order, page by page.

A fence marked `not-run` (a demo of minutes, an installation, a download) is not run; its flags are read by the real
parser, and its make targets must exist. Commands of ours run in this process, which saves the seconds that loading
torch takes; pipes and `> FILE` are understood.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import toys
from lookright.cli import main as entry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTSIDE_COMMANDS = {"python", "python3", "pip", "ruff", "mypy", "make", "accelerate", "echo"}


class Fence(NamedTuple):
    """A fenced block: its language, its markers, its text, and the line where it begins."""

    language: str
    markers: tuple[str, ...]
    text: str
    line: int


def fences(page: Path) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, *markers = match[1].split() or [""]
        found.append(Fence(language, tuple(markers), match[2], text.count("\n", 0, match.start()) + 1))
    return found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: a base, labeled files, some text, a trained tagger."""
    place = tmp_path_factory.mktemp("pages")
    toys.llama_folder(place / "my-base")
    for seed, split in enumerate(("train", "dev", "test")):
        toys.write_conll(place / f"{split}.conll", toys.toy_dataset(24 if split == "train" else 12, seed))
    (place / "notes.txt").write_text("Angela Merkel visited Zagreb.\nJordan smiled.\n", encoding="utf-8")
    documents = (" ".join(words) for words, _ in toys.toy_dataset(300, seed=3))
    (place / "corpus.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    labeled = (json.dumps({"text": text, "label": label}) for text, label in toys.toy_texts(60))
    (place / "texts.jsonl").write_text("\n".join(labeled) + "\n", encoding="utf-8")
    (place / "articles.jsonl").write_text('{"text": "Florence lies on the Arno."}\n', encoding="utf-8")
    spans = '{"text": "Zagreb is nice.", "spans": [{"start": 0, "end": 6, "label": "LOC"}]}\n'
    (place / "annotations.jsonl").write_text(spans, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        command = "train --base my-base --train train.conll --dev dev.conll --epochs 1 --out my-tagger --quiet"
        assert entry.main(command.split()) == 0
    (place / "recipe.toml").write_text('base = "my-base"\ntrain = "train.conll"\nepochs = 1\n', encoding="utf-8")
    return place


@pytest.fixture
def place(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workplace, as the current folder; the bundled sample is cut to the size of a test."""
    copy = tmp_path / "here"
    shutil.copytree(workplace, copy)
    monkeypatch.chdir(copy)
    small = {split: workplace / f"{split}.conll" for split in ("train", "dev", "test")}
    monkeypatch.setattr("lookright.data.sample", lambda name="wnut17": small)
    return copy


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    printed = ""
    for fence in fences(page):
        where = f"{page.name}:{fence.line}"
        if fence.language == "sh":
            for line in commands(fence.text):
                check_only(line, where) if "not-run" in fence.markers else run_line(line, where, monkeypatch)
        elif fence.language == "python":
            code = compile(fence.text, where, "exec")
            capfd.readouterr()
            if "not-run" not in fence.markers:
                exec(code, namespace)
                printed = capfd.readouterr().out
        elif fence.language == "toml":
            recipe_reads(fence.text)
        elif "output" in fence.markers:
            assert printed == fence.text, f"{where}: the output shown is not the output"


def test_some_pages_have_something_to_run() -> None:
    languages = [fence.language for page in PAGES for fence in fences(page) if "not-run" not in fence.markers]
    assert languages.count("sh") >= 6
    assert languages.count("python") >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def commands(text: str) -> list[str]:
    """The command lines of a shell fence: continued lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def run_line(line: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line: commands of ours in this process, others in a shell, with pipes and `> FILE` between them."""
    line, _, target = line.partition(" > ")
    flowing = b""
    for part in line.split(" | "):
        words = shlex.split(part)
        if words[0] != "lookright":
            assert words[0] in OUTSIDE_COMMANDS, f"{where}: {part}"
            flowing = subprocess.run(["bash", "-c", part], input=flowing, capture_output=True, check=True).stdout
            continue
        arguments = words[1:]
        clear_old_result(arguments)
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(flowing)), encoding="utf-8"))
            patch.setattr(sys, "stdout", out)
            code = entry.main(arguments)
        # A check may find something wrong with a file: it has done its work all the same.
        assert code == 0 or (arguments[0] == "check" and code == 1), f"{where}: {part} ended with {code}"
        flowing = out.buffer.getvalue()
        assert flowing or "--out" in arguments, f"{where}: {part} printed nothing"
    if target:
        Path(target.strip()).write_bytes(flowing)


def clear_old_result(arguments: list[str]) -> None:
    """A page may show several ways to train into one folder: each begins without the others' result."""
    if arguments[0] == "train" and "--out" in arguments and "--resume" not in arguments:
        shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)


def check_only(line: str, where: str) -> None:
    """What is not run is still read: our flags by our parser, make targets in the Makefile."""
    for part in line.split(" > ")[0].split(" | "):
        words = [word for word in shlex.split(part) if "=" not in word or word.startswith("-") or "==" in word]
        name = Path(words[0]).name
        if "lookright" in (name, *words) and "install" not in words and "clone" not in words:
            words = words[[Path(word).name for word in words].index("lookright") :]
            module = entry.importlib.import_module(f"lookright.cli.{words[1]}")
            parser = entry.CommandParser(words[1], summary="", examples="")
            module.add_arguments(parser)
            entry.add_common_arguments(parser)
            parser.parse_command(words[2:])
        elif name == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{where}: {line}"
        else:
            assert name in OUTSIDE_COMMANDS, f"{where}: {line}"


def recipe_reads(text: str) -> None:
    from lookright import Recipe

    assert Recipe.from_dict(tomllib.loads(text))
