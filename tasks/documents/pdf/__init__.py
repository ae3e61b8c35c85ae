"""PDF files: two engines behind one protocol, the judgement of a text layer, and ranges of pages."""
