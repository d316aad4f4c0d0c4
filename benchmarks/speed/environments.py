"""The environments of the peers: one folder each, made once, and again when what is in it changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TORCH: Final = "torch==2.13.0"
"""The same for all systems, so that they share kernels."""

PINS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    # BiLLM takes names from transformers' modeling files that went in 4.46 (its losses) and 4.48.
    "billm": (
        (TORCH,),
        ("transformers==4.45.2", "accelerate==1.1.1", "peft==0.13.2", "billm==0.1.6", "setuptools<82"),
    ),
    "current": ((TORCH,), ("transformers==5.23.0", "accelerate==1.15.0", "peft==0.21.2", "seqeval==1.2.2")),
    "spacy": (("spacy==3.8.18",),),
}
"""What is installed, in the order of the calls of pip."""

OURS: Final = "ours"


class NoEnvironment(Exception):
    """An environment cannot be made; the text says why."""


@dataclass(frozen=True)
class Environments:
    """Interpreters by environment.

    Attributes:
        folder: where environments are made.
        given: interpreters that the user has already, by name; they are taken as they are.
    """

    folder: Path
    given: Mapping[str, Path]

    def python(self, name: str) -> Path:
        """The interpreter of an environment, which is made where it is not there.

        Raises:
            NoEnvironment: pip says no.
        """
        if name == OURS:
            return Path(sys.executable)
        if name in self.given:
            return self.given[name]
        home = self.folder / name
        python, stamp = home / "bin" / "python", home / "pins.json"
        if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == fingerprint(name):
            return python
        print(f"making the environment {name} in {home}", file=sys.stderr, flush=True)
        _call([sys.executable, "-m", "venv", "--clear", str(home)], name)
        for packages in PINS[name]:
            _call([str(python), "-m", "pip", "install", "--quiet", *packages], name)
        stamp.write_text(json.dumps(fingerprint(name)), encoding="utf-8")
        return python


def fingerprint(name: str) -> str:
    """A hash of what is in an environment."""
    return hashlib.sha256(json.dumps([PINS[name], sys.version]).encode()).hexdigest()[:16]


def parse_given(texts: list[str]) -> dict[str, Path]:
    """`NAME=PATH` arguments as interpreters by name.

    Raises:
        ValueError: an argument that is not of that form, or names no environment or no interpreter.
    """
    given = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or name not in PINS:
            raise ValueError(f"{text!r}: expected NAME=PYTHON, where NAME is one of {', '.join(PINS)}")
        if not Path(path).exists():
            raise ValueError(f"{text!r}: there is no {path}")
        given[name] = Path(path).absolute()
    return given


def _call(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NoEnvironment(f"the environment {name} cannot be made: {said[-1] if said else command}")
