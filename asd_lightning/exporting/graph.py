"""From modules to a file: one ONNX graph for any number of windows, with what is to be known of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from asd_lightning import __version__
from asd_lightning.errors import UserError

INPUT, OUTPUT = "waveform", "anomaly_score"
PRODUCER = "asd_lightning"

# Not 0 or 1, which torch takes for constants.
_EXAMPLE_WINDOWS = 3
# Of a file of protobuf, with room for what is not weights.
_MOST_BYTES = 2_000_000_000
_NEEDED = "asd export needs onnx, onnxscript and onnxruntime: pip install 'asd_lightning[export]'"


class WindowScores(nn.Module):
    """Waveforms (batch, samples), float32 -> anomaly scores (batch), float64; nan of what has none.

    Args:
        embedder: waveforms to embeddings.
        back_end: float64 embeddings to scores.
    """

    def __init__(self, embedder: nn.Module, back_end: nn.Module) -> None:
        super().__init__()
        self.embedder = embedder
        self.back_end = back_end

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float64[Tensor, " batch"]:
        """Higher is more anomalous."""
        embedding = self.embedder(waveform)
        score = self.back_end(embedding.double())
        return torch.where(embedding.isfinite().all(1), score, torch.nan)


def onnx_bytes(scores: nn.Module, samples: int, about: Mapping[str, str]) -> bytes:
    """The graph as the content of an ONNX file.

    Args:
        scores: waveforms (batch, samples) to scores (batch).
        samples: of each window.
        about: metadata.

    Raises:
        UserError: packages are missing, the graph holds for the example's number of windows alone, or it is too large.
    """
    onnx = required()
    size = sum(tensor.nbytes for tensor in scores.state_dict().values())
    if size > _MOST_BYTES:
        raise UserError(f"{size / 1e9:.1f} GB of weights and bank: an ONNX file holds 2; enrol with --bank-size")
    proto = _translated(scores.eval(), samples)
    _tidy(proto)
    proto.producer_name, proto.producer_version = PRODUCER, __version__
    onnx.helper.set_model_props(proto, dict(about))
    return bytes(proto.SerializeToString())


def required() -> Any:
    """The package onnx; the others that an export needs are there too.

    Raises:
        UserError: one is missing.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"{_NEEDED} ({error.name} is missing)") from error
    return onnx


def _translated(scores: nn.Module, samples: int) -> Any:
    from onnxscript import optimizer

    example = (torch.zeros(_EXAMPLE_WINDOWS, samples),)
    shapes = ({0: torch.export.Dim("batch")},)
    with _quietly(), torch.no_grad():
        try:
            # First this, which refuses a number of windows that the code has made a constant.
            program = torch.export.export(scores, example, dynamic_shapes=shapes, strict=False)
            made = torch.onnx.export(
                program, dynamo=True, optimize=False, verbose=False, input_names=[INPUT], output_names=[OUTPUT]
            )
        except (torch._dynamo.exc.UserError, torch.onnx.OnnxExporterError) as error:
            told = " ".join(str(error).split())
            raise UserError(f"cannot be exported for any number of windows ({told:.200})") from error
    if made is None:
        raise UserError("torch made no graph of it")
    # Not all of what onnxscript calls optimizing: it takes an addend below 1e-8 for 0, a factor near 1 for 1.
    optimizer.fold_constants(made.model)
    optimizer.remove_unused_nodes(made.model)
    return made.model_proto


def _tidy(proto: Any) -> None:
    """Without the places of source code on this computer, which torch notes at every node, and with a named batch."""
    del proto.graph.value_info[:]
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch says of packages that no detector has a use for."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
