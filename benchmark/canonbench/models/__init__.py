"""Any causal language model behind one face."""
