"""`millrace verify`: sources, lake and collection compared row by row; `--repair` mends what differs."""
