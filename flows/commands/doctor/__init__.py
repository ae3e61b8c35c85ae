"""`millrace doctor`: what stands in the way of a run, one line a check, with the command that mends it.

A check is a function with the decorator `check` in one of the files here. It looks, and changes nothing.
"""
