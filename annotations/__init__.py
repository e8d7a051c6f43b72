"""What a base means: pure functions on arrays and tables, no web, no database, no torch."""
