"""`millrace verify`: sources, lake and collection compared row by row; `--repair` repairs what differs."""
