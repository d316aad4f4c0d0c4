"""The map of docs/architecture.md, held: imports go one way, and light rooms stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lookright"

BELOW: dict[str, set[str]] = {
    "errors": set(),
    "plan": {"errors"},
    "tags": {"errors"},
    "metrics": {"tags", "errors"},
    "text_metrics": {"metrics", "tags", "errors"},
    "assets": set(),
    "data": {"tags", "errors", "assets"},
    "encoding": {"data", "tags", "errors"},
    "attention": {"plan", "errors"},
    "models": {"attention", "encoding", "data", "tags", "plan", "errors"},
    "inference": {"models", "attention", "encoding", "data", "metrics", "text_metrics", "tags", "plan", "errors"},
}
BELOW["training"] = BELOW["inference"] | {"inference"}
BELOW["search"] = BELOW["training"] | {"training"}
BELOW["study"] = BELOW["search"] | {"search"}
BELOW["serving"] = BELOW["training"] | {"training"}
BELOW["api"] = BELOW["study"] | {"study", "serving"}
BELOW["cli"] = BELOW["api"] | {"api"}
"""For each room, the rooms that it may import from."""

LIGHT = ["lookright", "lookright.cli.main", "lookright.data", "lookright.plan", "lookright.tags", "lookright.errors"]
HEAVY = {"torch", "transformers", "peft", "accelerate", "tokenizers", "datasets"}


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[tuple[str, int]]:
    """The rooms that a file imports from, at any depth of its code, with the line."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides which room it is from"
            names = [
                f"{node.module}.{alias.name}" if node.module == "lookright" else str(node.module)
                for alias in node.names
            ]
        for name in names:
            parts = name.split(".")
            if parts[0] == "lookright" and len(parts) > 1 and not parts[1].startswith("__"):
                found.add((parts[1], node.lineno))
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    assert room in BELOW, f"{path} is in a room that the map does not know"
    wrong = [
        f"line {line}: {room} imports {other}"
        for other, line in imported_rooms(path)
        if other not in BELOW[room] | {room}
    ]
    assert wrong == []


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_the_pure_modules_need_only_the_standard_library() -> None:
    for module in ("plan", "tags", "errors"):
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                top = name.split(".")[0]
                assert top == "lookright" or top in sys.stdlib_module_names, f"{module}.py imports {name}"
