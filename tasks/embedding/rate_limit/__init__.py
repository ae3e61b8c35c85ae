"""When the next request may be sent: token buckets, an adaptive rate, a concurrency limit."""
