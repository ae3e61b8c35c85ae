"""Text to chunks: a tokenizer, and a splitter that holds both bounds and settles soon after an edit.

This room knows text, headings and pages; it must not know files, models, prices or collections.
"""
