"""The house rules that a machine can hold: sizes, docstrings, words that do not belong in a published project."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PYTHON_FILES = SOURCES + sorted(
    p for room in ("tests", "docs", "benchmarks", "bases", ".ci") for p in (ROOT / room).rglob("*.py")
)
LONGEST_FILE = 600
LONGEST_FUNCTION = 80
# Spelled in pieces so that this file passes its own test.
FORBIDDEN = ["/wo" + "rk/", "CONTRACT" + ".md", "/opt" + "/lr", "/opt" + "/pypi", "/tm" + "p/lr", "../sha" + "red"]
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" * 3 + ":"]


def published_files() -> list[Path]:
    """Every text file that git tracks, or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PYTHON_FILES}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{f.lineno} {f.name}": f.end_lineno - f.lineno + 1
        for path in PYTHON_FILES
        for f in functions(path)
        if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION
    }
    assert too_long == {}


def test_every_public_thing_has_a_docstring() -> None:
    missing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is None:
            missing.append(f"{path.relative_to(ROOT)}: the module")
        missing += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}" for node in _public(tree) if not _documented(node)
        ]
    assert missing == []


def _public(scope: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a module, with the public methods of its public classes."""
    found: list[ast.FunctionDef | ast.ClassDef] = []
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += _public(node)
    return found


def _documented(node: ast.FunctionDef | ast.ClassDef) -> bool:
    overload = any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list)
    return overload or ast.get_docstring(node) is not None


def test_nothing_published_names_the_place_where_it_was_made() -> None:
    found = []
    for path in published_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert found == []


def test_nothing_is_left_to_do_in_the_code() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in PYTHON_FILES
        for word in UNFINISHED
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_no_pickle_is_published() -> None:
    endings = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
    assert [str(path.relative_to(ROOT)) for path in published_files() if path.suffix in endings] == []
