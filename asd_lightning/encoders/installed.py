"""Encoders that other installed packages offer, by the entry-point group ``asd_lightning.encoders``.

A package that is installed is not loaded for that: it has to be trusted by name (`asd_lightning.trust`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.errors import UserError
from asd_lightning.plain_text import did_you_mean
from asd_lightning.trust import require_trust

GROUP = "asd_lightning.encoders"


class InstalledEncoder(nn.Module):
    """Waveform to tokens by an encoder from elsewhere.

    Args:
        encoder: with ``encode``, from waveforms (batch, samples) in [-1, 1] at 16 kHz to tokens (batch, tokens,
            token_dim), and the width of these, ``token_dim``.  With a ``grid`` (`TokenGrid`) it can be pooled over
            time, band by band.
        name: of its entry point, for messages.

    Raises:
        UserError: it lacks one of these, or wants a second microphone, which a branch does not have.
    """

    def __init__(self, encoder: nn.Module, name: str) -> None:
        super().__init__()
        if getattr(encoder, "needs_reference", False):
            raise UserError(
                f"encoder {name}: says needs_reference, and wants a far microphone beside the near one; a branch hears "
                "one channel (data.channel=reduced_per_clip takes what far tells from near)"
            )
        width = getattr(encoder, "token_dim", None)
        if (
            not isinstance(encoder, nn.Module)
            or not callable(getattr(encoder, "encode", None))
            or type(width) is not int
        ):
            raise UserError(f"encoder {name}: a torch module with encode() and a whole number token_dim is needed")
        self.encoder = encoder
        self.token_dim = width
        if hasattr(encoder, "grid"):
            self.grid = encoder.grid

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch tokens dim"]:
        """Tokens of each waveform."""
        tokens: Tensor = self.encoder.encode(waveform)  # type: ignore[operator]
        return tokens


def load_installed(name: str | None, config: Mapping[str, Any] | None = None) -> InstalledEncoder:
    """The encoder that an installed package offers under ``name``, made with ``config`` as keyword arguments.

    Raises:
        UserError: no or several packages offer it, its package is not trusted by name, or it cannot be made so.
    """
    point = _find(name)
    require_trust(f"{point.module}.{point.attr}", f"encoder {name}")
    try:
        encoder = point.load()(**(config or {}))
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise UserError(f"encoder {name}: {point.value} cannot be made: {error}") from error
    return InstalledEncoder(encoder, str(name))


def _find(name: str | None) -> EntryPoint:
    found = sorted({(point.name, point.value): point for point in entry_points(group=GROUP)}.items())
    names = [known for (known, _), _ in found]
    matching = [point for (known, _), point in found if known == name]
    if len(matching) > 1:
        values = " and ".join(point.value for point in matching)
        raise UserError(f"encoder {name}: offered by {values}; uninstall one of them")
    if not matching:
        there = f"there are {', '.join(names)}" if names else f"no installed package offers any ({GROUP})"
        what = f"{did_you_mean(str(name), names)}; install the package that offers it"
        raise UserError(f"encoder {name}: not installed{what}; {there}")
    return matching[0]
