"""StripedHyena 2, the architecture of Evo 2 (Brixi et al. 2025), for inference.

configurations.py  sizes of a model, and of every Evo 2
convolution.py     the causal convolutions, on plain tensors
blocks.py          the four kinds of block
model.py           the model as a `protocol.LanguageModel`
weights.py         official state dicts, and random weights of their layout
"""
