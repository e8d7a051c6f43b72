"""Language models, one architecture a file."""
