"""Training of language models and sparse autoencoders, and the measures of both."""
