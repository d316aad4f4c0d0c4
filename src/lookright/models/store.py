"""Folders of taggers: a kill at any moment leaves a whole one; each is read back and compared; odd ones are refused.

A folder holds `config.json` (our own `model_type`, the settings, the backbone's configuration with the plan), the
tokenizer, and either `model*.safetensors` (backbone and head) or `adapter/` and `head.safetensors` beside the name and
fingerprint of the base. The adapter's files carry names of our own, so that no other library takes them for an adapter
of a causal model.

Saving writes everything to `.saving/` inside the folder, reads it back, marks it ready, and only then moves the files
into place. A kill before the mark leaves the old files; a kill after it is completed by whoever opens the folder next.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from lookright.attention import check_plan, current_plan
from lookright.errors import ModelFolderError, OutputError, UnsupportedModelError
from lookright.models.base import (
    Base,
    BaseSource,
    fingerprint,
    install_plan,
    load_base,
    load_tokenizer,
    looks_like_path,
    resolve_dtype,
    resolve_folder,
    weight_files,
    without_pooler,
)
from lookright.models.config import MODEL_TYPE, LookRightConfig
from lookright.models.headed import HeadedModel
from lookright.models.int8 import has_int8_weights, with_int8_weights
from lookright.models.lora import LoraSettings, add_lora, has_lora, load_lora_state, lora_state, merge_lora
from lookright.models.settings import HeadSettings, TaggerSettings
from lookright.models.tagger_model import LookRightForTokenClassification
from lookright.models.tasks import CLASSES, TAGS, TEXT, model_on, settings_in, task_of

STAGING: Final = ".saving"
READY: Final = "READY"
ADAPTER_FOLDER: Final = "adapter"
ADAPTER_FILE: Final = "lookright_adapter.safetensors"
ADAPTER_PREFIX: Final = "lookright.adapter."
HEAD_FILE: Final = "head.safetensors"
HEAD_PREFIX: Final = "lookright.head."
WEIGHT_PATTERN: Final = "model{suffix}.safetensors"


Model = TypeVar("Model", bound=HeadedModel)


@dataclass(frozen=True)
class Loaded(Generic[Model]):
    """What `load_model` found in a folder."""

    model: Model
    tokenizer: PreTrainedTokenizerBase

    @property
    def settings(self) -> Any:
        """What the model remembers besides its weights: `TaggerSettings` or `TextSettings`."""
        return self.model.settings


def build_model(base: Base, settings: HeadSettings, lora: LoraSettings | None = None) -> HeadedModel:
    """A model for the settings' task with a fresh head on a base, and fresh adapters where `lora` is given."""
    if lora is not None:
        add_lora(base.backbone, lora)
    config = LookRightConfig(
        base_config=base.backbone.config.to_dict(),
        settings=settings.to_dict(),
        adapter=None if lora is None else lora.to_dict(),
        base=base.source.to_dict(),
        task=task_of(settings),
    )
    return model_on(config, base.backbone, settings)


def build_tagger(
    base: Base, settings: TaggerSettings, lora: LoraSettings | None = None
) -> LookRightForTokenClassification:
    """As `build_model`, for a tagger."""
    model = build_model(base, settings, lora)
    assert isinstance(model, LookRightForTokenClassification)
    return model


def is_tagger_folder(folder: str | Path) -> bool:
    """Whether a local folder holds a saved tagger or text classifier."""
    return saved_task(folder) is not None


def saved_task(folder: str | Path) -> str | None:
    """What the saved model in a local folder does, `tags` or `text`; None where there is none."""
    folder = Path(folder)
    if (folder / STAGING / READY).is_file():
        finish_saving(folder)
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    saved = isinstance(data, dict) and data.get("model_type") == MODEL_TYPE and bool(data.get("settings"))
    return str(data.get("task", TAGS)) if saved else None


def is_pretrained_folder(folder: Path) -> bool:
    """Whether a local folder holds a base that `lookright pretrain` made there."""
    try:
        account = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(account, dict) and account.get("command") == "pretrain"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk and missing rights into one clear line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = error.errno if isinstance(error, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
            raise OutputError(f"{folder}: the disk is full; nothing there was changed") from error
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise OutputError(f"{folder}: cannot be written: {reason}") from error


def claim(folder: Path) -> None:
    """Make an output folder, or refuse one that holds something else.

    Raises:
        OutputError: the path is a file, or a folder with files in it that is not a tagger or a run of ours.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file; expected a folder to write to")
    ours = {STAGING, "checkpoints", "log.jsonl", "run.json", "recipe.toml"}
    if folder.is_dir() and not is_tagger_folder(folder) and not is_pretrained_folder(folder):
        if (folder / "search.json").is_file():
            ours |= {"search.json", "trials.jsonl", "runs", "report.json", "report.md"}
        others = sorted(p.name for p in folder.iterdir() if p.name not in ours)
        if others:
            raise OutputError(
                f"{folder} holds something else ({others[0]}); give a new folder, or an empty one, or a saved tagger"
            )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def save_model(
    folder: str | Path,
    model: HeadedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    extra_files: Mapping[str, str] | None = None,
) -> Path:
    """Save a model, read every tensor back, and only then replace what was in the folder.

    Args:
        folder: a new, an empty, or a tagger's folder.
        model: with adapters in it, the adapter and the head are saved beside the base's name and fingerprint; without,
            the whole backbone.
        tokenizer: the base's tokenizer.
        extra_files: texts by file name, such as the model card `README.md`.

    Raises:
        OutputError: the folder holds something else, or the disk is full; what was there stays as it was. Or the model
            has 8-bit weights, which are for prediction only.
    """
    if has_int8_weights(model):
        raise OutputError(
            "this model was loaded with 8-bit weights (int8), which are for prediction only and are not saved; load "
            "it without int8, and save that"
        )
    refuse_damaged(model)

    def write(stage: Path) -> None:
        write_model(stage, model)
        if tokenizer is not None:
            tokenizer.save_pretrained(stage)
        for name, text in (extra_files or {}).items():
            (stage / name).write_text(text, encoding="utf-8")
        compare_tensors(stage, model)

    return save_staged(Path(folder), write)


def save_staged(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a staging folder, and move what it wrote into place once it is whole.

    Raises:
        OutputError: the folder holds something else, or the disk is full; what was there stays as it was.
    """
    claim(folder)
    stage = folder / STAGING
    with writing(folder):
        shutil.rmtree(stage, ignore_errors=True)
        try:
            stage.mkdir()
            readable = stage.stat().st_mode & 0o666
            write(stage)
            names = sorted(p.name for p in stage.iterdir())
            for path in stage.rglob("*"):
                if path.is_file():
                    path.chmod(readable)  # safetensors makes files that only their owner can read
                    sync(path)
            (stage / READY).write_text(json.dumps(names), encoding="utf-8")
            sync(stage / READY)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        finish_saving(folder)
    return folder


save_tagger = save_model


def refuse_damaged(model: torch.nn.Module) -> None:
    """Raise where a weight is not a finite number.

    Raises:
        OutputError: names the tensor; training has diverged.
    """
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise OutputError(
                f"the weights {name!r} are not finite numbers, so that nothing was saved: training has diverged; take "
                "a lower learning rate"
            )


def write_model(folder: Path, model: HeadedModel) -> None:
    """Write configuration and weights, not atomically."""
    adapted = has_lora(model.backbone)
    adapter = model.config.adapter
    config = LookRightConfig(
        base_config=portable(model.backbone.config),
        settings=model.settings.to_dict(),
        adapter=adapter if adapted else None,
        base=model.config.base,
        task=task_of(model.settings),
        architectures=[type(model).__name__],
        dtype=str(next(iter(model.backbone.parameters())).dtype).removeprefix("torch."),
    )
    config.save_pretrained(folder)
    if adapted:
        (folder / ADAPTER_FOLDER).mkdir()
        save_file(prefixed(lora_state(model.backbone), ADAPTER_PREFIX), folder / ADAPTER_FOLDER / ADAPTER_FILE)
        save_file(prefixed(model.head_state(), HEAD_PREFIX), folder / HEAD_FILE)
    else:
        save_torch_state_dict(whole_state(model), str(folder), filename_pattern=WEIGHT_PATTERN)


def portable(config: PreTrainedConfig) -> dict[str, Any]:
    """A configuration without what belongs to this machine or this process."""
    data: dict[str, Any] = config.to_dict()
    for key in ("_name_or_path", "quantization_config", "_attn_implementation", "attn_implementation"):
        data.pop(key, None)
    return data


def whole_state(model: HeadedModel) -> dict[str, Tensor]:
    """Backbone and head by name, contiguous."""
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors under names of our own, on the CPU."""
    return {prefix + name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def read_prefixed(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file that `prefixed` named.

    Raises:
        ModelFolderError: the file is missing, cannot be read, or has other names.
    """
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing: the folder is incomplete")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"{path} is not a whole safetensors file ({error})") from error
    if odd := next((name for name in state if not name.startswith(prefix)), None):
        raise ModelFolderError(f"{path} holds the tensor {odd!r}, which is none of ours")
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def compare_tensors(folder: Path, model: HeadedModel) -> None:
    """Read what was written and compare it with the model, tensor by tensor.

    Raises:
        OutputError: a tensor is missing or differs.
    """
    if has_lora(model.backbone):
        expected = {
            **prefixed(lora_state(model.backbone), ADAPTER_PREFIX),
            **prefixed(model.head_state(), HEAD_PREFIX),
        }
        files = [folder / ADAPTER_FOLDER / ADAPTER_FILE, folder / HEAD_FILE]
    else:
        expected = whole_state(model)
        files = weight_files(folder)
    written: set[str] = set()
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (not a dictionary)
                written.add(name)
                if name not in expected or not torch.equal(stored.get_tensor(name), expected[name].cpu()):
                    raise OutputError(f"{file}: the tensor {name!r} was not written as it is in memory")
    seen = {expected[name].data_ptr() for name in written}  # tensors that share memory are written once
    lost = [n for n, t in expected.items() if n not in written and t.data_ptr() not in seen and t.numel()]
    if lost:
        raise OutputError(f"{folder}: the tensor {lost[0]!r} was not written")


def sync(path: Path) -> None:
    """Make sure that a file has reached the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def finish_saving(folder: Path) -> None:
    """Move a staged save that is marked ready into place; safe to repeat after a kill at any point."""
    stage = folder / STAGING
    names: list[str] = json.loads((stage / READY).read_text(encoding="utf-8"))
    if any(Path(name).name != name or name in ("..", ".") for name in names):
        raise ModelFolderError(f"{stage / READY} names a path outside the folder")
    for old in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        if old.name not in names:
            old.unlink()
    if ADAPTER_FOLDER not in names:
        shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
    for name in names:
        source, target = stage / name, folder / name
        if not source.exists():
            continue  # moved before the kill
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        source.replace(target)
    (stage / READY).unlink()
    shutil.rmtree(stage, ignore_errors=True)


def read_config(folder: Path) -> LookRightConfig:
    """The configuration of a saved tagger, checked.

    Raises:
        ModelFolderError: it is not a tagger's, or damaged.
    """
    if (folder / STAGING / READY).is_file():
        finish_saving(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise ModelFolderError(f"{folder} has no config.json; expected a folder that lookright saved")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path} is not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("model_type") != MODEL_TYPE:
        kind = data.get("model_type") if isinstance(data, dict) else None
        raise ModelFolderError(
            f"{folder} is not a tagger but a model of the kind {kind!r}; train one from it with "
            f"`lookright train --base {folder} ...`"
        )
    if isinstance(data.get("base_config"), dict) and not data.get("settings"):
        raise ModelFolderError(
            f"{folder} is not a tagger but a base that carries its plan; train one from it with "
            f"`lookright train --base {folder} ...`"
        )
    if not isinstance(data.get("base_config"), dict) or not isinstance(data.get("settings"), dict):
        raise ModelFolderError(f"{path} lacks the backbone's configuration or the tagger's settings")
    config: LookRightConfig = LookRightConfig.from_dict(data)
    return config


def load_model(
    name: str | Path,
    kind: type[Model],
    *,
    backend: str = "auto",
    dtype: str = "auto",
    merge: bool = True,
    base: str | Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
    int8: bool = False,
) -> Loaded[Model]:
    """Read a saved model; its plan is installed and probed.

    Args:
        name: a local folder, or a repository on the hub.
        kind: the class of model that is wanted.
        backend: `auto`, `sdpa` or `eager`.
        dtype: of the backbone; `auto` is the one that it was saved in.
        merge: add an adapter to the weights, for prediction; otherwise it stays apart, for training.
        base: where the base of an adapter is, if it is not where it was.
        revision: branch, tag or commit on the hub.
        trust_remote_code: let transformers run the base's Python code.
        check: probe the plan.
        int8: put 8-bit weights in the place of the backbone's linear layers, for prediction on a processor; an adapter
            is added first. The plan is then probed with them.

    Raises:
        ModelFolderError: the folder holds no such model, is incomplete, or its adapter belongs to another base.
        PlanNotHeldError: the probe measured something else than the plan.
    """
    folder = resolve_folder(name, revision=revision)
    config = read_config(folder)
    settings = settings_in(config)
    _refuse_other_kind(folder, config, kind)
    tokenizer = load_tokenizer(folder)
    check_first = check and not int8
    if config.adapter is None:
        model = load_whole(folder, config, settings, dtype=dtype, trust_remote_code=trust_remote_code)
        plan = current_plan(model.backbone)
        install_plan(model.backbone, plan, backend, check=check_first)
    else:
        model = load_adapter(
            folder, config, settings, base=base, downloaded=not Path(name).expanduser().is_dir(), backend=backend,
            dtype=dtype, merge=merge or int8, trust_remote_code=trust_remote_code, check=check_first,
        )  # fmt: skip
    model.eval()
    if int8:
        put_int8_weights(model, check=check)
    return Loaded(cast(Model, model), tokenizer)


def _refuse_other_kind(folder: Path, config: LookRightConfig, kind: type[HeadedModel]) -> None:
    """Raise where a folder holds another kind of model than is wanted."""
    found = CLASSES[config.task]
    if not issubclass(found, kind):
        reader = {TAGS: "Tagger", TEXT: "TextClassifier"}[config.task]
        raise ModelFolderError(f"{folder} holds a {settings_in(config).KIND}; {reader}.from_pretrained reads it")


def load_tagger(name: str | Path, **options: Any) -> Loaded[LookRightForTokenClassification]:
    """As `load_model`, for a tagger."""
    return load_model(name, LookRightForTokenClassification, **options)


def put_int8_weights(model: HeadedModel, *, check: bool = True) -> None:
    """Put 8-bit weights into a tagger's backbone, in place, and probe its plan with them.

    Raises:
        UnsupportedModelError: the family has no linear layers that could take them.
        PlanNotHeldError: the probe measured something else than the plan.
    """
    family = model.backbone.config.model_type
    if not with_int8_weights(model.backbone):
        raise UnsupportedModelError(f"{family} has no linear layers of torch's own kind: leave int8 out")
    try:
        if check and not model.is_encoder:
            check_plan(model.backbone)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"{family} does more with its linear layers than call them ({error}): leave int8 out"
        ) from error


def saved_dtype(config: LookRightConfig) -> str:
    """Name of the dtype that the backbone was saved in."""
    return str(config.dtype or "float32").removeprefix("torch.")


def load_whole(
    folder: Path, config: LookRightConfig, settings: HeadSettings, *, dtype: str, trust_remote_code: bool
) -> HeadedModel:
    """Backbone and head from `model*.safetensors`."""
    try:
        base_config = AutoConfig.for_model(**config.base_config)
    except (ValueError, KeyError) as error:
        kind = config.base_config.get("model_type")
        raise ModelFolderError(
            f"{folder}: this version of transformers does not know the model type {kind!r}"
        ) from error
    files = weight_files(folder)
    wanted = resolve_dtype(saved_dtype(config) if dtype == "auto" else dtype, base_config)
    with no_init_weights():  # every tensor is read from the files, or the folder is refused
        backbone = AutoModel.from_config(
            base_config, dtype=wanted, trust_remote_code=trust_remote_code, **without_pooler(base_config)
        )
    model = model_on(config, backbone, settings)
    own = model.state_dict()  # filled in place below
    missing = set(own)
    for file in files:
        try:
            state = load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(f"{file} is not a whole safetensors file ({error})") from error
        try:
            odd = model.load_state_dict(state, strict=False).unexpected_keys
        except RuntimeError as error:
            raise ModelFolderError(f"{file} does not fit config.json: {str(error).splitlines()[-1].strip()}") from error
        if odd:
            raise ModelFolderError(f"{file} holds the tensor {odd[0]!r}, which this model does not have")
        missing -= set(state)
    loaded = {own[name].data_ptr() for name in set(own) - missing}
    lost = sorted(name for name in missing if own[name].data_ptr() not in loaded)
    if lost:
        raise ModelFolderError(f"{folder}: the tensor {lost[0]!r} is in none of its safetensors files")
    return model


def find_base(folder: Path, config: LookRightConfig, base: str | Path | None, *, downloaded: bool) -> BaseSource:
    """Where the base of an adapter is, its weights compared before anything else in it is read.

    Args:
        folder: of the adapter.
        config: of the adapter.
        base: where the user says that it is; none takes what the adapter's configuration names.
        downloaded: whether the adapter came from a hub; then a path that it names is not followed.

    Raises:
        ModelFolderError: it is not there, it has other weights, or only a path in a downloaded file names it.
    """
    try:
        named = BaseSource(**config.base)
    except TypeError as error:
        raise ModelFolderError(f"{folder}: config.json does not say which base the adapter is for") from error
    if base is None and downloaded and looks_like_path(named.name):
        raise ModelFolderError(
            f"{folder} was downloaded and names its base by a path on another machine ({named.name}); say where the "
            "base is: base=..., or --adapter-base"
        )
    where = str(base or named.name)
    revision = None if base else named.revision
    try:
        found = fingerprint(resolve_folder(where, revision=revision))
    except ModelFolderError as error:
        raise ModelFolderError(
            f"{folder} holds an adapter without its base: {error}; if the base has moved, say where it is: base=..., "
            "or --adapter-base"
        ) from error
    if found != named.fingerprint:
        raise ModelFolderError(
            f"{folder} holds an adapter for the base {named.name} with the weights {named.fingerprint[:12]}, but "
            f"{where} has the weights {found[:12]}: an adapter fits one base only"
        )
    return BaseSource(where, revision, found)


def load_adapter(
    folder: Path,
    config: LookRightConfig,
    settings: HeadSettings,
    *,
    base: str | Path | None,
    downloaded: bool,
    backend: str,
    dtype: str,
    merge: bool,
    trust_remote_code: bool,
    check: bool,
) -> HeadedModel:
    """Base, adapter and head."""
    plan = config.base_config.get("lookright_right_contexts")
    source = find_base(folder, config, base, downloaded=downloaded)
    loaded = load_base(
        source.name, plan=plan, backend=backend, dtype=saved_dtype(config) if dtype == "auto" else dtype,
        revision=source.revision, trust_remote_code=trust_remote_code, check=False,
    )  # fmt: skip
    assert config.adapter is not None
    lora = LoraSettings.from_dict(config.adapter)
    model = build_model(loaded, settings, lora)
    load_lora_state(model.backbone, read_prefixed(folder / ADAPTER_FOLDER / ADAPTER_FILE, ADAPTER_PREFIX))
    head = read_prefixed(folder / HEAD_FILE, HEAD_PREFIX)
    try:
        model.load_head_state(head)
    except RuntimeError as error:
        raise ModelFolderError(
            f"{folder / HEAD_FILE} does not fit the labels: {str(error).splitlines()[-1].strip()}"
        ) from error
    if merge:
        merge_lora(model.backbone)
    install_plan(model.backbone, loaded.plan, backend, check=check)
    return model
