"""How a detector hears: from recordings to windows of sound, and from those to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import cut_recordings, window_of
from asd_lightning.detector.constructors import Spec, build_embedder, pretrained
from asd_lightning.detector.file import Arrays, part_digest
from asd_lightning.errors import UserError
from asd_lightning.plain_text import file_name, printable
from asd_lightning.precision import LOW_PRECISIONS, PRECISIONS, Precision
from asd_lightning.scoring.windows import WindowReduction

if TYPE_CHECKING:
    from torch import nn

    from asd_lightning.embedder import ScoredEmbedder

# Those of a trainer, in which a run was tested, and those of an encoder alone.
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", *LOW_PRECISIONS)
_LOCK = Lock()


@dataclass(frozen=True)
class Sound:
    """A piece of sound: a clip, and its waveform where it comes from memory and not from ``clip.path``."""

    clip: Clip
    waveform: Float32[ndarray, " samples"] | None = None


Look = Callable[[Sound, Float32[ndarray, " samples"]], Any]


@dataclass(frozen=True)
class Heard:
    """What was heard of some recordings.

    Attributes:
        pieces: those that could be read, whole clips or windows of long recordings.
        embeddings: of the pieces, row for row.
        looks: what was found in each piece's waveform.
        unreadable: file -> why none of it was heard.
        in_float32: embeddings in float32, where they were asked for beside those in a lower precision.
    """

    pieces: list[Sound]
    embeddings: Float32[ndarray, "n dim"]
    looks: list[Any]
    unreadable: dict[str, str]
    in_float32: Float32[ndarray, "n dim"] | None = None


@dataclass(frozen=True)
class Hearing:
    """Preprocessing and embedder of a detector, the same for all its machines.

    Attributes:
        preprocessing: from a recording to waveforms.
        embedder: its spec, see `asd_lightning.detector.constructors`.
        reduction: from the windows of a recording to its score.
        precision: of the embedder's products, as Lightning's trainer names it; or of its encoder alone, ``bf16`` or
            ``int8``, see `asd_lightning.low_precision`.
        weights: of the embedder by name, where they travel with the detector; otherwise those that the spec names are
            read from this computer.
        digest: of the weights, "" where there are none; ``None`` before they were looked at.
        told: what is known of weights that do not travel: branch -> name and sha256 of the published file.
    """

    preprocessing: Preprocessing
    embedder: Spec
    reduction: WindowReduction = "max"
    precision: str = "32-true"
    weights: Arrays | None = None
    digest: str | None = None
    told: dict[str, dict[str, str]] = field(default_factory=dict)

    def with_weights(self, model: ScoredEmbedder, keep: bool, told: dict[str, dict[str, str]]) -> Hearing:
        """The same, with an embedder that has been built already."""
        made = replace(
            self, weights=(weights_of(model) or None) if keep else None, digest=weights_digest(model), told=told
        )
        # In the place of what the property below would build a second time.
        made.__dict__["model"] = model
        return made

    def in_precision(self, precision: str) -> Hearing:
        """The same, with an encoder in ``float32`` (or what a run was tested in), ``bf16`` or ``int8``.

        Raises:
            UserError: an unknown precision, one that is not the run's own, that the encoder does not compute in, or
                that this processor lacks.
        """
        if precision not in PRECISIONS:
            raise UserError(f"precision {precision!s:.40}: choose one of {', '.join(PRECISIONS)}")
        if precision == "float32" or precision == self.precision:
            return self
        if self.precision != "32-true":
            raise UserError(
                f"precision {precision}: the run was tested in {self.precision}, and its embeddings are those; choose "
                "float32, which leaves it so"
            )
        made = replace(self, precision=precision)
        if "model" in self.__dict__:
            made.__dict__["model"] = self.model
        _ = made.scored_by
        return made

    @property
    def low_precision(self) -> Precision:
        """``bf16`` or ``int8``, where the encoder computes in it; else ``float32``."""
        return self.precision if self.precision in LOW_PRECISIONS else "float32"  # type: ignore[return-value]

    @cached_property
    def scored_by(self) -> ScoredEmbedder:
        """The embedder in its precision.

        Raises:
            UserError: as of ``model``, or this processor lacks the precision.
        """
        if self.low_precision == "float32":
            return self.model
        from asd_lightning.low_precision import lowered

        return lowered(self.model, self.low_precision)

    @cached_property
    def model(self) -> ScoredEmbedder:
        """The embedder in float32, in evaluation mode.

        Raises:
            UserError: its weights are not here, or are others than the detector was made with.
        """
        with _LOCK:
            # Another thread may have made it while this one waited.
            if (made := self.__dict__.get("model")) is not None:
                return made  # type: ignore[no-any-return]
            try:
                return self._with_kept_weights() if self.weights else self._with_named_weights()
            except UserError:
                raise
            except Exception as error:
                # What a file describes may be anything.
                told = printable(" ".join(f"{error!s:.200}".split()))
                raise UserError(f"the detector's embedder cannot be built ({told}); enrol again") from error

    def same_as(self, other: Hearing) -> bool:
        """Whether embeddings of both compare."""
        names = ("preprocessing", "embedder", "reduction", "precision", "digest")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def embed(
        self, pieces: Iterable[Sound], look: Look, batch_size: int = 32, *, in_float32_too: bool = False
    ) -> Heard:
        """Hear pieces one after another; a recording of which one cannot be read is left out whole.

        Args:
            pieces: in their order.
            look: called with each piece and its waveform, for what is to be known besides.
            batch_size: pieces at a time.
            in_float32_too: beside a lower precision, for comparison; each recording is decoded once all the same.
        """
        from asd_lightning.scoring.clip_embeddings import AUTOCAST, embed_windows

        read: list[tuple[Sound, Any]] = []
        unreadable: dict[str, str] = {}
        model: nn.Module = self.scored_by
        if in_float32_too:
            from asd_lightning.low_precision import SideBySide

            model = SideBySide(model, self.model)
        embeddings = embed_windows(
            model, self._windows(pieces, look, read, unreadable), batch_size, AUTOCAST.get(self.precision)
        )
        kept = [number for number, (sound, _) in enumerate(read) if sound.clip.file not in unreadable]
        pairs = [read[number] for number in kept]
        own, *exact = np.split(embeddings[kept], 2 if in_float32_too else 1, axis=1)
        return Heard([sound for sound, _ in pairs], own, [found for _, found in pairs], unreadable, *exact)

    def pieces_of(self, clips: Sequence[Clip]) -> list[Sound]:
        """Recordings as pieces: long ones of one's own are cut into windows."""
        return [Sound(clip) for clip in cut_recordings(clips, self.preprocessing)]

    def pieces_of_waveform(self, waveform: Float32[ndarray, " samples"], clip: Clip) -> list[Sound]:
        """A waveform at the detector's rate as pieces of ``clip``."""
        rate, length = self.preprocessing.sample_rate, self.preprocessing.samples
        places = self.preprocessing.places(len(waveform) / rate)
        if len(places) == 1:
            return [Sound(clip, waveform)]
        seconds = self.preprocessing.clip_seconds
        starts = [min(round(place * rate), len(waveform) - length) for place in places]
        return [
            Sound(window_of(clip, place, seconds), waveform[start : start + length])
            for place, start in zip(places, starts, strict=True)
        ]

    def waveform(self, sound: Sound) -> Float32[ndarray, " samples"]:
        """What is heard of a piece, in [-1, 1], neither repeated nor cropped.

        Raises:
            BadAudioError: unreadable, or otherwise unfit.
        """
        if sound.waveform is not None:
            return sound.waveform
        return self.preprocessing.read(sound.clip.path, sound.clip.start, sound.clip.seconds)

    def header(self) -> dict[str, Any]:
        """Plain data for the detector's file."""
        return {
            "preprocessing": asdict(self.preprocessing),
            "embedder": self.embedder,
            "recording_score": self.reduction,
            "precision": self.precision,
            "weights": {"kept": bool(self.weights), "digest": self.digest, "published": self.told},
        }

    @classmethod
    def of_header(cls, header: Mapping[str, Any], weights: Arrays) -> Hearing:
        """What ``header()`` was given of.

        Raises:
            UserError: something is missing, or not what it should be.
        """
        try:
            told = header["weights"]
            if header["recording_score"] not in get_args(WindowReduction) or header["precision"] not in _PRECISIONS:
                raise ValueError("recording_score, precision")
            preprocessing = Preprocessing(**header["preprocessing"])
            return cls(
                preprocessing,
                dict(header["embedder"]),
                header["recording_score"],
                header["precision"],
                weights or None,
                str(told["digest"]),
                dict(told["published"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"does not say how recordings are heard ({error!s:.99})") from error

    def _windows(
        self, pieces: Iterable[Sound], look: Look, read: list[tuple[Sound, Any]], unreadable: dict[str, str]
    ) -> Iterator[Float32[ndarray, "crops samples"]]:
        for sound in pieces:
            if sound.clip.file in unreadable:
                continue
            try:
                waveform = self.waveform(sound)
                windows = self.preprocessing.windows(waveform)
            except BadAudioError as error:
                unreadable[sound.clip.file] = str(error)
                continue
            read.append((sound, look(sound, waveform)))
            yield windows

    def _with_named_weights(self) -> ScoredEmbedder:
        model = build_embedder(self.embedder)
        if self.digest is not None and weights_digest(model) != self.digest:
            named = [str(encoder.get("weights")) for encoder in pretrained(self.embedder).values()]
            raise UserError(
                f"the weights {', '.join(named) or 'of its embedder'} on this computer are others than the detector "
                "was made with; fetch the same again, or make the detector with --self-contained"
            )
        return model

    def _with_kept_weights(self) -> ScoredEmbedder:
        import torch

        from asd_lightning.encoders.weights.checkpoints import architecture_only

        weights = self.weights or {}
        with architecture_only():
            with torch.device("meta"):
                described = build_embedder(self.embedder).state_dict()
            # Before memory is asked for: a short text can describe a model of any size.
            for name in sorted(described.keys() | weights.keys()):
                wanted = tuple(described[name].shape) if name in described else None
                found = weights[name].shape if name in weights else None
                if wanted != found:
                    raise UserError(f"the weights {name:.80} have the shape {found}, and {wanted} is described")
            model = build_embedder(self.embedder)
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
        return model.eval()


def weights_of(model: ScoredEmbedder) -> Arrays:
    """All weights of an embedder, by name; there may be none."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def weights_digest(model: ScoredEmbedder) -> str:
    """Digest of an embedder's weights; "" where it has none."""
    weights = weights_of(model)
    return part_digest(weights) if weights else ""


def machine_above(path: Path, names: Collection[str]) -> str | None:
    """Whose recording it is by its folders: the machine whose name the nearest of them has.

    >>> machine_above(Path("/plant/pump/fan/today.wav"), ["pump", "fan"]), machine_above(Path("fan.wav"), ["fan"])
    ('fan', None)
    """
    return next((part for part in reversed(path.absolute().parts[:-1]) if part in names), None)


def parent_name(path: Path) -> str:
    """Name of the machine that normal sound belongs to: its folder's, or of one called normal or train its parent's."""
    from asd_lightning.data.conditions import condition_of_folder

    real = path.resolve().parent if path.is_file() else path.resolve()
    inner = real.name.casefold() in ("train", "training") or condition_of_folder(real.name) == "normal"
    return file_name(real.parent.name if inner and real.parent.name else real.name)
