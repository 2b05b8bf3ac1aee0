"""A looped masked-diffusion model as a model of diffusers: saved, loaded and called like any other."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.outputs import BaseOutput
from jaxtyping import Float, Int
from torch import Tensor

from loopverse import LoopedModel
from loopverse.errors import UserError, unknown
from loopverse.nn import (
    Add,
    Attend,
    Concat,
    CoreConfig,
    Embed,
    NoInjection,
    Normal,
    Retention,
    RetentionResidual,
    Scaled,
    Zeros,
)
from loopverse_masked_diffusion.adapter import MaskedDiffusion, MaskedDiffusionConfig

PARTS: dict[str, tuple[type, ...]] = {
    "injection": (NoInjection, Add, Concat, Retention, RetentionResidual, Scaled),
    "init": (Zeros, Normal, Embed),
}
"""The settings of a core that are classes, and those that can be: nothing else is made from a file."""


@dataclass
class MaskedDiffusionModelOutput(BaseOutput):
    """What the model says.

    Attributes:
        logits: log-probabilities of the clean tokens. The mask, the last id, has no column: it is read
            and never predicted.
    """

    logits: Float[Tensor, "b t v"]


class MaskedDiffusionModel(ModelMixin, ConfigMixin):
    """Adapter and core, rebuilt from settings and safetensors; its tokeniser is saved beside them.

    Use `of` for a model that is there already. The trained part of a halting rule is left out: here
    every call takes the number of loops that it is told.

    Args:
        domain: fields of `MaskedDiffusionConfig`.
        core: fields of `CoreConfig`; `injection` and `init` name their class as `kind`.
        loops: of a call that does not say how many.

    Raises:
        ValueError: settings of no model of this version.
    """

    @register_to_config
    def __init__(self, domain: dict[str, Any], core: dict[str, Any], loops: int) -> None:
        super().__init__()
        try:
            config = _read_core(core)
            adapter = MaskedDiffusion(MaskedDiffusionConfig(**domain), config.width)
        except (TypeError, KeyError) as error:
            raise UserError(
                f"these settings do not fit this version of Loopverse: {error}; "
                "use the version that wrote them"
            ) from error
        self.looped = LoopedModel(adapter, config)

    @classmethod
    def of(cls, model: LoopedModel, loops: int | None = None) -> "MaskedDiffusionModel":
        """The same weights, shared, as a model of diffusers.

        Args:
            model: of this domain.
            loops: the default of a call; None: the nominal number of the core.

        Raises:
            ValueError: a model of another domain, or with a core that no file can describe.
        """
        adapter, config = model.adapter, model.core.config
        if not isinstance(adapter, MaskedDiffusion):
            raise ValueError(
                "expected a model of the domain masked_diffusion, "
                f"got one of {type(adapter).__name__}: only masks can be filled in"
            )
        with torch.device("meta"):  # these weights are never used
            wrapped = cls(
                domain=asdict(adapter.config),
                core=_write_core(config),
                loops=config.loops if loops is None else loops,
            )
        wrapped.looped.adapter, wrapped.looped.core = adapter, model.core
        return wrapped.train(model.training)

    @property
    def adapter(self) -> MaskedDiffusion:
        """The domain's side of the model: its tokeniser, its mask, its context."""
        return cast(MaskedDiffusion, self.looped.adapter)

    def forward(
        self,
        input_ids: Int[Tensor, "b t"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b t"] | None = None,
        *,
        timestep: float | Tensor | None = None,
        loops: int | None = None,
        return_dict: bool = True,
    ) -> MaskedDiffusionModelOutput | tuple[Tensor]:
        """What the clean tokens may be.

        Args:
            input_ids: tokens, masks among them.
            attention_mask: `[b t]`, 0 where there is no token at all; None: nowhere.
            position_ids: None: counted from the first token of each row.
            timestep: noise level, one or one for each row, for models that are told it; None: the
                share of tokens that are masked.
            loops: how often the core reads; None: as configured.
            return_dict: false returns a tuple.
        """
        present = torch.ones_like(input_ids).bool()
        if attention_mask is not None:
            present = attention_mask.bool()
        if timestep is None:
            masked = (input_ids == self.adapter.mask_id) & present
            timestep = masked.sum(dim=1) / present.sum(dim=1).clamp(min=1)
        level = torch.as_tensor(timestep, dtype=torch.float, device=input_ids.device)
        level = level.expand(len(input_ids))
        inputs = self.adapter.read_tokens(input_ids, level)
        inputs.attend = Attend(causal=False, padding=None if bool(present.all()) else present)
        inputs.positions = position_ids
        think = self.looped.bind(self.config["loops"] if loops is None else loops)
        logits = self.adapter.predict(think(inputs, outer=1 - level).z).logits
        return MaskedDiffusionModelOutput(logits=logits) if return_dict else (logits,)

    def save_config(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write the settings, and the tokeniser without which the numbers mean nothing."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.adapter.save_assets(folder)
        super().save_config(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any
    ) -> Any:
        """The model that `save_pretrained` wrote into a folder; no code in it is run.

        Raises:
            ValueError: there is no such folder, or its tokeniser is missing.
        """
        folder = Path(pretrained_model_name_or_path or "")
        if pretrained_model_name_or_path is None or not folder.is_dir():
            raise ValueError(
                f"expected a folder that save_pretrained wrote, got {pretrained_model_name_or_path}: "
                "a repository of a hub has to be downloaded first"
            )
        kwargs["use_safetensors"] = True  # the other format is pickle, which runs code
        made = super().from_pretrained(folder, **kwargs)
        model = made[0] if isinstance(made, tuple) else made  # with output_loading_info: a pair
        model.adapter.load_assets(folder / (kwargs.get("subfolder") or ""))
        return made


def _write_core(config: CoreConfig) -> dict[str, Any]:
    values = asdict(config)
    for part, kinds in PARTS.items():
        kind = type(getattr(config, part))
        if kind not in kinds:
            raise unknown(f"core.{part}", kind.__name__, [each.__name__ for each in kinds])
        values[part]["kind"] = kind.__name__
    return values


def _read_core(values: dict[str, Any]) -> CoreConfig:
    made = dict(values)
    for part, kinds in PARTS.items():
        settings = dict(values[part])
        known = {kind.__name__: kind for kind in kinds}
        name = settings.pop("kind")
        if name not in known:
            raise unknown(f"core.{part}", name, known)
        made[part] = known[name](**settings)
    return CoreConfig(**made)
