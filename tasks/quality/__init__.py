"""How well an index answers: sampling, questions and metrics, as plain functions."""
