"""What is done: stages that join components, and the components. No Prefect, no terminal, no settings in here.

`stages`, `reconcile` and `quality` join components; the components (`documents`, `chunking`, `embedding`, `lake`,
`milvus`) know only `records` and `errors`, never each other.
"""
