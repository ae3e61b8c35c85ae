"""Archives as folders: each file in them is read as a document of its own, and nothing is ever written by its name."""
