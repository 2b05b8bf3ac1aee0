"""Modules: attention, cache, blocks, injection, and the recurrent core made of them."""

from loopverse.nn.attend import Attend
from loopverse.nn.attention import Attention
from loopverse.nn.block import Block, Stack, SwiGLU, init_weights
from loopverse.nn.body import ContractiveBody, LoopBody
from loopverse.nn.cache import KVCache
from loopverse.nn.config import CoreConfig
from loopverse.nn.context import Context
from loopverse.nn.contractive import ContractiveBlock, ContractiveStack
from loopverse.nn.core import CoreInput, CoreOutput, RecurrentCore
from loopverse.nn.injection import (
    Add,
    Concat,
    Inject,
    Injection,
    NoInjection,
    Retention,
    RetentionResidual,
    Scaled,
)
from loopverse.nn.norm import RMSNorm
from loopverse.nn.places import At, Places
from loopverse.nn.retrofit import loopify_core
from loopverse.nn.reuse import reuse_weights
from loopverse.nn.rotary import rotary_angles, rotate
from loopverse.nn.state import (
    Embed,
    FreshNoise,
    Noise,
    Normal,
    PositionNoise,
    StateInit,
    Zeros,
)
from loopverse.nn.weights import Piece, WeightMap, load_weights

__all__ = [
    "Add",
    "At",
    "Attend",
    "Attention",
    "Block",
    "Concat",
    "Context",
    "ContractiveBlock",
    "ContractiveBody",
    "ContractiveStack",
    "CoreConfig",
    "CoreInput",
    "CoreOutput",
    "Embed",
    "FreshNoise",
    "Inject",
    "Injection",
    "KVCache",
    "LoopBody",
    "NoInjection",
    "Noise",
    "Normal",
    "Piece",
    "Places",
    "PositionNoise",
    "RMSNorm",
    "RecurrentCore",
    "Retention",
    "RetentionResidual",
    "Scaled",
    "Stack",
    "StateInit",
    "SwiGLU",
    "WeightMap",
    "Zeros",
    "init_weights",
    "load_weights",
    "loopify_core",
    "reuse_weights",
    "rotary_angles",
    "rotate",
]
