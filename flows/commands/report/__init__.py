"""The page of a run: what it cost, what was slow, what failed, and what to change, as one HTML file.

`gather` collects what the lake knows of the run, `page_of` draws it. Importing the drawing imports matplotlib, which
takes most of a second; only `millrace report` and a run under Prefect do, at its end.
"""
