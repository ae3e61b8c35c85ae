"""The command line: what is typed and what is printed. It starts commands and flows, and holds no work of its own."""
