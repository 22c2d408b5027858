"""editing.methods."""
