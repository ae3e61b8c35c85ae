"""Prefect beside the flows: artifacts, deployment parameters, flow-run logs, a Dask cluster."""
