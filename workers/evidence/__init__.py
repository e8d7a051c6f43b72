"""The evidence for the bundled model: numbers in stages, and a page made of the numbers."""
