"""GGUF files: header, rotary embeddings and tokenizer, in transformers' terms."""
