"""Flows and the command line: what runs, in which order. Prefect and the terminal live here."""

import tasks as tasks  # settles Arrow's allocator, before a module here imports Arrow
