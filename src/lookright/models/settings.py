"""What a model must remember besides its weights. Pure Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Self

from lookright.errors import ModelFolderError, RecipeError
from lookright.tags import Scheme, label_set, split_tag

SUBWORD_CHOICES: Final = ("first", "last", "mean")
CONTEXT_CHOICES: Final = ("sentence", "document")
DECODE_CHOICES: Final = ("viterbi", "argmax")
LONGEST_WINDOW: Final = 512


@dataclass(frozen=True)
class HeadSettings:
    """What every model of ours must remember; saved in `config.json`, so that a folder behaves the same anywhere.

    Attributes:
        labels: the name of each output of the head, in its order.
        window: the longest input in sub-words, special tokens included; what is longer runs in overlapping windows.
        dropout: probability of dropping a feature before the head, in training only.
    """

    KIND: ClassVar[str]
    """What messages call a model with such settings."""

    labels: tuple[str, ...] = ("O",)
    window: int = LONGEST_WINDOW
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, choices in self.choices().items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if self.window < 8:
            raise RecipeError(f"window is {self.window} sub-words; expected 8 or more")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"dropout is {self.dropout}; expected a probability in [0, 1)")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise RecipeError(f"labels are {list(self.labels)}; expected at least one, each once")

    @classmethod
    def choices(cls) -> Mapping[str, tuple[str, ...]]:
        """The allowed values of the fields that are choices."""
        return {}

    @property
    def label_to_id(self) -> dict[str, int]:
        """The output index of each label."""
        return {label: index for index, label in enumerate(self.labels)}

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From the JSON form.

        Raises:
            ModelFolderError: a key is missing or unknown.
        """
        known = {one.name for one in fields(cls)}
        if set(data) != known:
            missing, extra = sorted(known - set(data)), sorted(set(data) - known)
            raise ModelFolderError(
                f"the {cls.KIND} settings lack {missing or 'nothing'} and have the unknown {extra or 'nothing'}: "
                "the folder was written by another version of lookright, or altered"
            )
        return cls(**{**data, **cls._read(data), "labels": tuple(data["labels"])})

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The fields whose JSON form is another than their own."""
        return {}


@dataclass(frozen=True)
class TaggerSettings(HeadSettings):
    """How a tagger turns text into tags.

    Attributes:
        labels: the tag of each output of the head, in its order. `O` is the first one, except in `PLAIN`.
        window, dropout: as for `HeadSettings`.
        scheme: the tagging scheme of `labels`.
        subword: which sub-word carries the label of its word: `first`, `last`, or the `mean` of all of them.
        word_rule: how running text is split into words (`WordSplitter.to_dict()`).
        context: `sentence`, or `document` to show each sentence its neighbours.
        decode: `viterbi` over the transitions that the scheme allows, or `argmax` per word.
    """

    KIND: ClassVar[str] = "tagger"

    scheme: Scheme = Scheme.IOB2
    subword: str = "mean"
    word_rule: dict[str, Any] = field(default_factory=lambda: {"rule": "default"})
    context: str = "sentence"
    decode: str = "viterbi"

    @classmethod
    def choices(cls) -> Mapping[str, tuple[str, ...]]:
        """The allowed values of the fields that are choices."""
        return {"subword": SUBWORD_CHOICES, "context": CONTEXT_CHOICES, "decode": DECODE_CHOICES}

    @property
    def types(self) -> tuple[str, ...]:
        """The span types (in `PLAIN`: the tags) that the labels name, in the order of their labels."""
        if self.scheme is Scheme.PLAIN:
            return self.labels
        return tuple(dict.fromkeys(split_tag(label)[1] for label in self.labels if label != "O"))

    def with_types(self, types: Iterable[str]) -> TaggerSettings:
        """The same settings with the labels of more types after the ones that are there, whose indices stay."""
        wanted = label_set(types, self.scheme)
        return replace(self, labels=self.labels + tuple(label for label in wanted if label not in self.labels))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**super().to_dict(), "scheme": self.scheme.value}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"scheme": Scheme.parse(data["scheme"])}
