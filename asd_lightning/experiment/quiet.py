"""What Lightning says that no user of this package can act on."""

from __future__ import annotations

import logging
import warnings


def hide_irrelevant_messages() -> None:
    """Drop advertisements, and advice against what the configuration does on purpose."""
    for advice in (
        r".*does not have many workers.*",  # clips are decoded already: reading them is no bottleneck
        r".*LeafSpec.*is deprecated.*",  # between torch and Lightning
        r".*smaller than the logging interval.*",  # a demonstration is short
        r".*dataloader is not resumable.*",  # its sampler is a function of the step
        r"Found \d+ module\(s\) in eval mode at the start of training.*",  # what does not train stays in evaluation
        r"The `srun` command is available on your system but is not used.*",  # one process needs none
    ):
        warnings.filterwarnings("ignore", message=advice)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_of_use)


_USELESS = (
    "Tip:",
    "TPU available",
    "GPU available: False, used: False",  # the summary names the device
    "`Trainer.fit` stopped: `max_steps=",  # as every run does
    "Skipping",
)


def _is_of_use(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(useless in message for useless in _USELESS)
