"""A mask plan inside a Hugging Face decoder: masks, kernels, packing, and the probe that holds them to the plan."""

from lookright.attention.architecture import decoder_layers, is_encoder
from lookright.attention.install import apply_plan, can_pack, current_plan, packed_kwargs, padded_kwargs, plan_switch
from lookright.attention.masks import PLAN_KEY
from lookright.attention.opening import partly_open
from lookright.attention.probing import PathReport, ProbeReport, check_plan, expected_right_contexts, probe

__all__ = [
    "PLAN_KEY",
    "PathReport",
    "ProbeReport",
    "apply_plan",
    "can_pack",
    "check_plan",
    "current_plan",
    "decoder_layers",
    "expected_right_contexts",
    "is_encoder",
    "packed_kwargs",
    "padded_kwargs",
    "partly_open",
    "plan_switch",
    "probe",
]
