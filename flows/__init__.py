"""Flows and the command line: what runs, in which order. Prefect and the terminal live here."""
