"""From pending texts to requests and back: the queue, packing, retries and usage."""
