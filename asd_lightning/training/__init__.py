"""The LightningModule, its callbacks and its learning-rate schedule."""
