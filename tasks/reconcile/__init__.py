"""Lake against collection: comparing, repairing, bulk import, and the checks before a switch."""
