"""The training loop that finetuning methods share, and its parts: batches, losses, regularizers, weights, targets."""
