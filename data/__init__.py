"""Data files that travel with the package: the ranks of the tokenizer."""
