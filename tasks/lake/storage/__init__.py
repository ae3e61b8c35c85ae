"""Paths, atomic writes and leases, on a disk or among objects."""
