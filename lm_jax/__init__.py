"""Train, compare and apply language models of every family in JAX."""
