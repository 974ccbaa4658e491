"""The durable history: Delta tables under one root, append-only, each commit with a sequence number of its own."""
