"""State and HTTP: runs, computations, shards, storage and the web application."""
