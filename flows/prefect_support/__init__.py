"""What Prefect is asked for besides running a flow: artifacts, parameters, flow-run logs, a Dask cluster."""
