"""From clips to classes: the labels an encoder is trained to tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError

LabelScheme = Literal["machine_attribute", "machine_domain_attribute", "machine_domain", "machine"]


class ClassLabel(NamedTuple):
    """One training class.

    Attributes:
        name: parts joined by ``/``, such as ``ToyCar/car_B1_spd_31V_mic_1``.
        has_attribute: whether the class is one operating condition (``True``) or a whole machine (``False``).
    """

    name: str
    has_attribute: bool


def class_of(clip: Clip, scheme: LabelScheme = "machine_attribute") -> ClassLabel:
    """The class of one clip.  On the 2025 release the schemes give 172, 179, 30 and 15 classes.

    ``machine_attribute`` merges the domains.  A machine without released attributes is one class of its own.

    Raises:
        UserError: the scheme is not one of the four.
    """
    if scheme not in get_args(LabelScheme):
        raise UserError(f"labels={scheme!r}: choose one of {', '.join(get_args(LabelScheme))}")
    parts = [clip.machine]
    if "domain" in scheme:
        parts.append(clip.domain)
    with_attribute = "attribute" in scheme
    if with_attribute:
        parts.append(clip.attribute or "noAttribute")
    return ClassLabel("/".join(parts), with_attribute and bool(clip.attribute))


def class_table(clips: Iterable[Clip], scheme: LabelScheme = "machine_attribute") -> list[ClassLabel]:
    """All classes of ``clips``, sorted by name: the position in this list is the label."""
    return sorted({class_of(clip, scheme) for clip in clips})


def encode_labels(clips: Sequence[Clip], classes: Sequence[ClassLabel], scheme: LabelScheme) -> list[int]:
    """Label of each clip; -1 for a class that training never saw (test clips are never trained on)."""
    position = {label.name: index for index, label in enumerate(classes)}
    return [position.get(class_of(clip, scheme).name, -1) for clip in clips]
