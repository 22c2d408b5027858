"""The Backpack language model and the conversion of its published checkpoint."""
