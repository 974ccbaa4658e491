"""The low-latency copy: one packed item per (view version, entity) in a store behind a small protocol."""
