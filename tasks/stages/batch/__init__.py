"""The Batch road: texts written into jobs, jobs brought to their end, and their vectors taken into the store.

Joins `lake` (jobs and the vector store) and `embedding` (files, jobs and answers of the provider). Nothing after it
knows which road a vector came by: the embed stage finds it in the store.
"""
