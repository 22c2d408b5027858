"""editing.training."""
