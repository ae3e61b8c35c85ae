"""One client per provider, and what they share: HTTP, validation of answers, meaning of errors."""
