"""In which precision an encoder computes what is scored: the names, for those that do not need torch."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["float32", "bf16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
LOW_PRECISIONS = ("bf16", "int8")
