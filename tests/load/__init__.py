"""Many clients at once against the real processes."""
