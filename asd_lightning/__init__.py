"""Anomalous sound detection with PyTorch Lightning.

>>> from asd_lightning import load_run  # doctest: +SKIP
>>> scores, _ = load_run("runs/pump").score([Path("today.wav")])  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["FittedRun", "load_run"]

if TYPE_CHECKING:
    from asd_lightning.experiment.fitted_run import FittedRun, load_run


def __getattr__(name: str) -> Any:
    """The public API, imported when it is asked for: torch takes seconds, and ``asd --help`` should not wait."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from asd_lightning.experiment import fitted_run

    return getattr(fitted_run, name)
