"""What a person or a schedule starts: Prefect flows, commands and the command line."""
