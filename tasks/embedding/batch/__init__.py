"""Batch: requests written into a file, answered within hours, at half the price and outside the rate limits."""
