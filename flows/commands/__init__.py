"""The commands, one place each, named as in `millrace --help`. No Prefect and no terminal in here."""
