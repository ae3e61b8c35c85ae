"""One client a provider, and what they share: HTTP, the validation of answers, the meaning of errors."""
