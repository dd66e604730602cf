"""Anomalous sound detection with PyTorch Lightning.

The commands as functions, and what a run has fitted, ready for use:

>>> import asd_lightning
>>> sorted(asd_lightning.__all__)[:5]
['Detector', 'FittedRun', 'accept', 'calibrate', 'compare']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Detector",
    "FittedRun",
    "accept",
    "calibrate",
    "compare",
    "enrol",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "info",
    "load_run",
    "report",
    "reproduce",
    "score",
    "select",
    "serve",
    "submit",
    "test",
    "train",
    "undo",
]

if TYPE_CHECKING:
    from asd_lightning.api import (
        accept,
        calibrate,
        compare,
        enrol,
        evaluate,
        explain,
        export,
        fuse,
        info,
        report,
        reproduce,
        score,
        select,
        serve,
        submit,
        test,
        train,
        undo,
    )
    from asd_lightning.detector.detector import Detector
    from asd_lightning.experiment.fitted_run import FittedRun, load_run

_PLACES = {
    "Detector": "detector.detector",
    "FittedRun": "experiment.fitted_run",
    "load_run": "experiment.fitted_run",
}


def __dir__() -> list[str]:
    """What an interpreter completes."""
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    """The public API, imported when it is asked for: torch takes seconds, and ``asd --help`` should not wait."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"asd_lightning.{_PLACES.get(name, 'api')}"), name)
