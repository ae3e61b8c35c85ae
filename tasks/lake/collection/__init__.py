"""What the lake keeps of one collection: manifest, chunk parts, rejects, jobs."""
