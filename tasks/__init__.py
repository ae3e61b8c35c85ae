"""Stages and rooms: everything that turns documents into rows of a collection.

The stages (`scan`, `chunk`, `embed`, `load`) join the rooms; the rooms (`documents`, `chunking`, `embedding`, `lake`,
`milvus`) know only `records` and `errors`, never each other, Prefect or the terminal.
"""
