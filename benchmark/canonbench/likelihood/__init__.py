"""Log-likelihoods, exact and fast."""
