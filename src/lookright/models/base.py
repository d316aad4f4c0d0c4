"""Loading the pretrained model that a tagger is made from: safely, under a plan, and probed."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from lookright.attention import PLAN_KEY, apply_plan, check_plan, is_encoder
from lookright.errors import MissingExtraError, ModelFolderError, PlanError, RecipeError, UnsupportedModelError
from lookright.models.bundled import BUNDLED, bundled_folder
from lookright.models.config import LookRightConfig
from lookright.plan import MaskPlan, PlanSpec

log = logging.getLogger("lookright")

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HUB_PATTERNS: Final = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
SAMPLED_BLOCKS: Final = 256
BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class BaseSource:
    """Where a base came from, so that an adapter can refuse any other.

    Attributes:
        name: the folder or hub name that was asked for.
        revision: the hub commit, where there is one.
        fingerprint: hash of its weights, see `fingerprint`.
    """

    name: str
    revision: str | None
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Base:
    """A loaded base.

    Attributes:
        backbone: the bare model (no language-model head), the plan installed and probed.
        tokenizer: its tokenizer.
        plan: the plan; none for an encoder, which looks both ways already.
        source: where it came from.
    """

    backbone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    plan: MaskPlan | None
    source: BaseSource


def default_plan(n_layers: int) -> MaskPlan:
    """The plan of a user who names none: the upper half of the layers unmasked."""
    return MaskPlan.parse("01" if n_layers > 1 else "1", n_layers)


def looks_like_path(name: str) -> bool:
    """Whether a name can only be a path, and not that of a model on a hub."""
    return name.startswith((".", "~", "/")) or Path(name).is_absolute() or name.count("/") > 1


def resolve_folder(name: str | Path, *, revision: str | None = None, trust_remote_code: bool = False) -> Path:
    """The local folder of a model: the folder itself, the bundled base, or a download of a hub repository's safe files.

    Raises:
        ModelFolderError: there is no such folder and no such repository within reach.
    """
    path = Path(name).expanduser()
    if name == BUNDLED:  # the name means one thing everywhere: adapters and recipes refer to it
        if path.exists():
            log.info("%s is the bundled base; what lies in the current folder is ./%s", BUNDLED, BUNDLED)
        return bundled_folder()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelFolderError(f"{name} is a file; expected a model folder (with config.json and *.safetensors)")
    if looks_like_path(str(name)):
        raise ModelFolderError(f"{name}: no such folder; expected a model folder or the name of a model on a hub")
    from huggingface_hub import snapshot_download

    patterns = [*HUB_PATTERNS, "*.py"] if trust_remote_code else list(HUB_PATTERNS)
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds, all of which mean that the model is out of reach
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFolderError(
            f"{name}: no such folder, and no such model within reach of the hub ({reason}); "
            "give a local folder, or check the name and the connection"
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, sorted.

    Raises:
        ModelFolderError: there are none; pickles are named and never opened.
    """
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickles = sorted(str(p.name) for pattern in PICKLES for p in folder.glob(pattern))
    if pickles:
        raise ModelFolderError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code when opened and is never "
            "loaded; expected *.safetensors: convert it once with model.save_pretrained of transformers"
        )
    raise ModelFolderError(f"{folder} holds no weights; expected *.safetensors beside config.json")


def fingerprint(folder: Path) -> str:
    """A hash of the weights in a folder: every byte of a file up to 256 MB, 256 blocks of 1 MB of a larger one.

    The sampled blocks include the header, with every tensor's name, shape and place, and the last block.
    """
    digest = hashlib.sha256()
    for file in weight_files(folder):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size};".encode())
        with file.open("rb") as stream:
            if size <= SAMPLED_BLOCKS * BLOCK_BYTES:
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
            else:
                for index in range(SAMPLED_BLOCKS):
                    stream.seek(index * (size - BLOCK_BYTES) // (SAMPLED_BLOCKS - 1))
                    digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()


def load_config(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration in a folder; of a base that carries its plan, the backbone's own one with the plan in it.

    Raises:
        ModelFolderError: it is missing, cannot be read, or is an adapter's or a tagger's.
        UnsupportedModelError: transformers does not know its kind.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelFolderError(
                f"{folder} holds a PEFT adapter without its base; merge it into its base first (merge_and_unload), "
                "save that, and give the merged folder"
            )
        raise ModelFolderError(f"{folder} has no config.json; expected a Hugging Face model folder")
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{folder / 'config.json'} is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ModelFolderError(f"{folder / 'config.json'} is not a JSON object")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        if not isinstance(config, LookRightConfig):
            return config
        if config.settings:
            raise ModelFolderError(f"{folder} holds a saved tagger; expected a base")
        inner = AutoConfig.for_model(**config.base_config)
        inner.dtype = config.dtype
        return inner
    except (ValueError, KeyError, OSError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(f"{folder}: transformers cannot read this model's config.json: {reason}") from error


def carried_plan(folder: Path) -> MaskPlan | None:
    """The plan that a base carries; None for an ordinary decoder, and for an encoder.

    Raises:
        ModelFolderError, UnsupportedModelError: as `load_config`.
    """
    carried = getattr(load_config(folder).get_text_config(), PLAN_KEY, None)
    return None if carried is None else MaskPlan(tuple(carried))


def resolve_dtype(dtype: str, config: PreTrainedConfig) -> torch.dtype:
    """The dtype of a name; `auto` is the one that the weights were saved in."""
    if dtype == "auto":
        saved = getattr(config.get_text_config(), "dtype", None)
        return saved if isinstance(saved, torch.dtype) else torch.float32
    if dtype not in DTYPES:
        raise RecipeError(f"dtype is {dtype!r}; expected auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        ModelFolderError: there is none that can be read.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # readers of many formats fail in many ways; all mean the same to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFolderError(f"{folder} has no tokenizer that can be read ({reason})") from error


def quantization_config(quantization: str | None, dtype: torch.dtype) -> Any:
    """What `from_pretrained` takes for 4-bit weights (QLoRA, arXiv 2305.14314: NF4, double quantisation), or none."""
    if quantization is None:
        return None
    if quantization != "4bit":
        raise RecipeError(f"quantization is {quantization!r}; expected 4bit or none")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("bitsandbytes", "qlora", "4-bit training") from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Arguments that leave out an encoder's pooler: nothing trains it, and that breaks multi-process training."""
    model_class = AutoModel._model_mapping.get(type(config), None)
    takes = inspect.isclass(model_class) and "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if takes else {}


@contextmanager
def bars_on_terminals_only() -> Iterator[None]:
    """For a while: transformers' progress bars only on a terminal, and no report of the heads that are left out."""
    bars = hf_logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    if bars:
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def choose_plan(config: PreTrainedConfig, plan: PlanSpec | None) -> MaskPlan | None:
    """The plan for a base: the one asked for, else the one that it carries, else the default; none for an encoder.

    Raises:
        UnsupportedModelError: a plan was asked of an encoder.
    """
    if is_encoder(config):
        if plan is not None:
            raise UnsupportedModelError(
                f"{config.model_type} is an encoder: each of its layers already sees the whole sentence, so there is "
                f"no causal mask for the plan {str(plan)!r} to remove; leave the plan out"
            )
        return None
    text = config.get_text_config()
    n_layers = getattr(text, "num_hidden_layers", None)
    if not isinstance(n_layers, int):
        raise PlanError(f"{config.model_type}: its config does not say how many layers it has")
    if plan is None:
        carried = getattr(text, PLAN_KEY, None)
        if carried is None:
            return default_plan(n_layers)
        own = MaskPlan.parse(carried, n_layers)
        log.info("the base carries the plan %s, which is taken", own)
        return own
    chosen = MaskPlan.parse(plan, n_layers)
    if (carried := getattr(text, PLAN_KEY, None)) is not None and chosen.to_list() != list(carried):
        log.info("the base carries the plan %s; %s is asked for, and taken", MaskPlan.parse(carried, n_layers), chosen)
    return chosen


def install_plan(backbone: PreTrainedModel, plan: MaskPlan | None, backend: str, *, check: bool = True) -> None:
    """Put a plan into a decoder and probe it; nothing to do for an encoder.

    Raises:
        PlanNotHeldError: the probe measured something else than the plan.
    """
    if plan is None:
        return
    backbone.config.get_text_config().use_cache = False  # a cache would make transformers ignore packing
    apply_plan(backbone, plan, backend)
    if check:
        check_plan(backbone)


def load_base(
    name: str | Path,
    *,
    plan: PlanSpec | None = None,
    backend: str = "auto",
    dtype: str = "float32",
    quantization: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
) -> Base:
    """Load a base under a plan.

    Args:
        name: a local folder, or the name of a model on the hub.
        plan: any form that `MaskPlan.parse` reads; none takes the plan that the base carries, else the default.
        backend: `auto`, `sdpa` or `eager`.
        dtype: of the weights: `float32`, `bfloat16`, `float16`, or `auto` for the one they were saved in.
        quantization: `4bit` (CUDA, extra `qlora`), or none.
        revision: branch, tag or commit on the hub.
        trust_remote_code: let transformers run the Python code in the folder.
        check: probe the plan (see `lookright.attention.check_plan`).

    Raises:
        ModelFolderError: no such folder, no weights, a pickle instead of safetensors.
        UnsupportedModelError: an architecture that cannot carry the plan.
        PlanNotHeldError: the probe measured something else than the plan.
    """
    folder = resolve_folder(name, revision=revision, trust_remote_code=trust_remote_code)
    config = load_config(folder, trust_remote_code=trust_remote_code)
    chosen = choose_plan(config, plan)
    weight_files(folder)
    torch_dtype = resolve_dtype(dtype, config)
    kwargs: dict[str, Any] = {"config": config, "dtype": torch_dtype, "use_safetensors": True}
    if (quantized := quantization_config(quantization, torch_dtype)) is not None:
        kwargs["quantization_config"] = quantized
    with loading_weights(folder):
        backbone, found = AutoModel.from_pretrained(
            folder,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **kwargs,
            **without_pooler(config),
        )
    if quantized is None:
        refuse_lost(folder, found)
    install_plan(backbone, chosen, backend, check=check)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    check_pad_token(tokenizer, backbone)
    check_vocabulary(folder, tokenizer, backbone)
    source = source_of(name, folder, config, revision)
    return Base(backbone, tokenizer, chosen, source)


@contextmanager
def loading_weights(folder: Path) -> Iterator[None]:
    """Within: what goes wrong in reading weights becomes one clear `ModelFolderError`."""
    try:
        with bars_on_terminals_only():
            yield
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFolderError(f"{folder}: the weights cannot be loaded: {reason}") from error


def refuse_lost(folder: Path, found: Mapping[str, Any]) -> None:
    """Refuse a folder in which weights are missing: transformers would put random numbers there, and only warn.

    Args:
        folder: that was read.
        found: what transformers says about the loading.

    Raises:
        ModelFolderError: a weight is not there, or has another shape.
    """
    lost = sorted(str(name) for key in ("missing_keys", "mismatched_keys") for name in found[key])
    if lost:
        raise ModelFolderError(
            f"{folder}: the weights of {lost[0]!r} are not there, or have another shape"
            + (f" ({len(lost) - 1} more)" if len(lost) > 1 else "")
            + "; the folder is incomplete, or its config.json belongs to another model"
        )


def check_pad_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Take a pad token away that has no embedding: padding is masked, so any token that exists will do."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
        tokenizer.pad_token = None


def check_vocabulary(folder: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer that is another model's: text would turn into ids that have no embedding.

    Raises:
        ModelFolderError: it knows more than the model, tokens that were added to it left aside.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known = 0 if backend is None else backend.get_vocab_size(with_added_tokens=False)
    rows = model.get_input_embeddings().num_embeddings
    if known > rows:
        raise ModelFolderError(
            f"{folder}: the tokenizer has {known} entries, but the model has embeddings for {rows}; expected the "
            "tokenizer that the model was trained with"
        )


def source_of(name: str | Path, folder: Path, config: PreTrainedConfig, revision: str | None) -> BaseSource:
    """Where a base that was loaded came from."""
    # An absolute path, so that an adapter finds its base from wherever it is loaded.
    local = name != BUNDLED and Path(name).expanduser().is_dir()
    place = str(folder.resolve()) if local else str(name)
    return BaseSource(place, getattr(config, "_commit_hash", None) or revision, fingerprint(folder))


def build_settings_window(config: PreTrainedConfig, longest: int) -> int:
    """The window in sub-words: `longest`, or what the base takes where that is less."""
    text = config.get_text_config()
    limits = [getattr(text, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    takes = min(known) if known else longest
    if config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        takes -= 2  # their positions start after the padding index
    return min(longest, takes)
