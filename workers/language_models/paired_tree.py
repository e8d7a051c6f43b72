"""A small gene language model: two causal towers, one per strand, that meet at every base.

    h = T(x)                        reads the forward strand, left to right
    g = flip(T(complement(x)))      reads the other strand, with the same weights
    logits[i] = Joint([h[i - 1]; g[i + 1]])

Base ``i`` is predicted from both sides and from everything but itself (the
two-tower cloze model of Baevski et al. 2019, arXiv:1903.07785), so that one
pass gives p(base | all others) of every base. The tower is a tree of k-mers:
embeddings of the 1-mer, 6-mer and 8-mer that end at a base, then blocks

    h[i] += W2 gelu(W1 [LN(h)[i]; LN(h)[i - d]]),  d = 6, 12, 24, 48

each of which doubles what a base has seen. A tower may end in blocks of
causal banded attention, which add the composition of the sequence around.
The tower sees nothing further back than `PairedTreeConfig.reach` bases, so its
activations do not depend on where a window begins once the window gives it
that much left context.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from annotations.errors import WeightsError
from workers.language_models.protocol import Splice, check_window

BASES = "ACGTN"
"""Order of the base codes: a base's code is its index here; anything not A, C, G or T is N."""

N_CODE = 4


@dataclass(frozen=True)
class PairedTreeConfig:
    """Sizes of a paired-strand tree."""

    width: int = 128
    """Channels of the residual stream."""
    distances: tuple[int, ...] = (6, 12, 24, 48)
    """How far back each block looks, in bases."""
    eight_width: int = 32
    """Channels of the 8-mer table, projected to `width`."""
    joint_width: int = 256
    """Channels of the layer where both towers meet."""
    n_species: int = 8
    """Rows of the species table; row 0 is the one used at inference."""
    hidden: int = 2
    """Hidden units of every block but the first, for each channel; the first has at least 4."""
    attention_blocks: int = 0
    """Blocks of attention above the tree."""
    attention_heads: int = 4
    """Heads of an attention block; `width` is a multiple of it."""
    attention_span: int = 96
    """Bases an attention block looks at: a base itself and those before it."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot make a model."""
        sizes = (self.width, self.eight_width, self.joint_width, self.n_species, self.hidden)
        if min(*sizes, self.attention_heads, self.attention_span) < 1 or self.attention_blocks < 0:
            raise ValueError(f"every size of a paired tree must be at least 1, got {self}")
        if self.attention_blocks and self.width % self.attention_heads:
            raise ValueError(
                f"width must be a multiple of attention_heads, got {self.width} and "
                f"{self.attention_heads}"
            )
        if not self.distances or min(self.distances) < 1:
            raise ValueError(
                f"distances must be one or more positive numbers, got {self.distances}"
            )

    def reach(self, blocks: int) -> int:
        """Bases to the left of a base that its residual after `blocks` blocks depends on."""
        attention = max(0, blocks - len(self.distances))
        return 7 + sum(self.distances[:blocks]) + attention * (self.attention_span - 1)

    @property
    def n_blocks(self) -> int:
        """Blocks of a tower: one for each distance, then those of attention."""
        return len(self.distances) + self.attention_blocks


class Towers(NamedTuple):
    """What the two towers say of every base, both in forward coordinates."""

    left: Tensor
    """Read on the forward strand from the left, float [batch, length, width]."""
    right: Tensor
    """Read on the reverse strand from the right, float [batch, length, width]."""


def complement(ids: Tensor) -> Tensor:
    """Complement of base codes, N staying N; same shape and dtype, not reversed."""
    return torch.where(ids < N_CODE, 3 - ids, ids)


def kmer_index(ids: Tensor, k: int) -> Tensor:
    """Index of the k-mer that ends at each base.

    Parameters
    ----------
    ids : int64 tensor, shape [batch, length]
        Base codes in the order of `BASES`.
    k : int
        Length of the k-mer.

    Returns
    -------
    index : int64 tensor, shape [batch, length]
        Base-4 number of the k-mer, the last base counting least; ``4**k`` where
        the k-mer holds an N or begins before the window.
    """
    padded = F.pad(ids, (k - 1, 0), value=N_CODE)
    length = ids.shape[1]
    index = torch.zeros_like(ids)
    missing = torch.zeros_like(ids, dtype=torch.bool)
    for offset in range(k):
        base = padded[:, offset : offset + length]
        missing |= base == N_CODE
        index = index * 4 + base.clamp(max=3)
    return index.masked_fill(missing, 4**k)


class Block(nn.Module):
    """One level of the tree: each base takes in what the base `distance` before it knows."""

    def __init__(self, width: int, distance: int, hidden: int) -> None:
        super().__init__()
        self.distance = distance
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(2 * width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.normal_(self.down.weight, std=0.02)

    def forward(self, h: Tensor) -> Tensor:
        """Residual stream after this block; float [batch, length, width] in and out."""
        return torch.as_tensor(h + self.added(self.given(h)))

    def given(self, h: Tensor) -> Tensor:
        """What its layers read at each base: [batch, length, width] to [..., 2 width]."""
        normed = self.norm(h)
        earlier = F.pad(normed, (0, 0, self.distance, 0))[:, : h.shape[1]]
        return torch.cat([normed, earlier], -1)

    def added(self, given: Tensor) -> Tensor:
        """What they add to the residual stream: [batch, length, 2 width] to [..., width]."""
        hidden = F.gelu(self.up(given), approximate="tanh")
        return torch.as_tensor(self.down(hidden))


class AttentionBlock(nn.Module):
    """Causal attention over the last `span` bases, then a layer on each base alone.

    Positions enter as one learnt bias for each head and distance (Raffel et al.
    2020, arXiv:1910.10683, without buckets). Computed in chunks of `span` bases,
    each attending to itself and to the chunk before it, so that the work grows
    with the length of a window and not with its square.
    """

    def __init__(self, width: int, heads: int, span: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.span = heads, span
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, span))
        self.hidden_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.normal_(self.down.weight, std=0.02)

    def forward(self, h: Tensor) -> Tensor:
        """Residual stream after this block; float [batch, length, width] in and out."""
        h = h + self.out(self._attended(self.into(self.norm(h))))
        hidden = F.gelu(self.up(self.hidden_norm(h)), approximate="tanh")
        return torch.as_tensor(h + self.down(hidden))

    def _attended(self, projected: Tensor) -> Tensor:
        """Values of the bases attended to; [batch, length, 3 width] to [batch, length, width]."""
        batch, length, _ = projected.shape
        chunks = -(-length // self.span)
        padded = F.pad(projected, (0, 0, 0, chunks * self.span - length))
        # [3, batch, chunk, head, base of the chunk, channel]
        parts = padded.view(batch, chunks, self.span, 3, self.heads, -1).permute(3, 0, 1, 4, 2, 5)
        query, own_keys, own_values = parts.unbind(0)
        keys, values = (_with_chunk_before(own) for own in (own_keys, own_values))
        found = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=self._bias(chunks).to(query.dtype)
        )
        return found.transpose(2, 3).reshape(batch, chunks * self.span, -1)[:, :length]

    def _bias(self, chunks: int) -> Tensor:
        """What is added before the softmax; [1 or chunks, heads, span, 2 span]."""
        place = torch.arange(2 * self.span, device=self.distance_bias.device)
        distance = place[self.span :, None] - place[None]
        within = (distance >= 0) & (distance < self.span)
        bias = self.distance_bias[:, distance.clamp(0, self.span - 1)]
        bias = bias.masked_fill(~within, -torch.inf)
        first = bias.masked_fill(place < self.span, -torch.inf)
        return torch.cat([first[None], bias[None].expand(chunks - 1, -1, -1, -1)])


def _with_chunk_before(x: Tensor) -> Tensor:
    """Join each chunk to the one before it; [batch, chunk, head, n, d] to [..., 2 n, d]."""
    before = F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([before, x], -2)


class PairedTree(nn.Module):
    """The paired-strand tree; see the module's docstring for its equations."""

    def __init__(self, config: PairedTreeConfig) -> None:
        super().__init__()
        width, joint = config.width, config.joint_width
        self.config = config
        self.base = nn.Embedding(len(BASES), width)
        self.six = nn.Embedding(4**6 + 1, width)
        self.eight = nn.Embedding(4**8 + 1, config.eight_width)
        self.eight_up = nn.Linear(config.eight_width, width, bias=False)
        self.species = nn.Embedding(config.n_species, width)
        for table, std in (
            (self.base, 0.5),
            (self.six, 0.5),
            (self.eight, 0.1),
            (self.species, 0.1),
        ):
            nn.init.normal_(table.weight, std=std)
        self.blocks = nn.ModuleList(
            Block(width, distance, (config.hidden if i else max(4, config.hidden)) * width)
            for i, distance in enumerate(config.distances)
        )
        self.blocks.extend(
            AttentionBlock(
                width, config.attention_heads, config.attention_span, config.hidden * width
            )
            for _ in range(config.attention_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.joint_in = nn.Linear(2 * width, joint)
        self.joint_hidden = nn.Linear(joint, joint)
        self.joint_norm = nn.LayerNorm(joint)
        self.out = nn.Linear(joint, 4)

    def embed(self, ids: Tensor, species: Tensor) -> Tensor:
        """Residual stream before the first block.

        Parameters
        ----------
        ids : int64 tensor, shape [batch, length]
            Base codes in the order of `BASES`.
        species : int64 tensor, shape [batch]
            Row of the species table.

        Returns
        -------
        h : float tensor, shape [batch, length, width]
        """
        h = (
            self.base(ids)
            + self.six(kmer_index(ids, 6))
            + self.eight_up(self.eight(kmer_index(ids, 8)))
        )
        return torch.as_tensor(h + self.species(species)[:, None])

    def residual(self, ids: Tensor, species: Tensor, blocks: int) -> Tensor:
        """Raw residual stream after `blocks` blocks; float [batch, length, width].

        Causal: row i depends on bases ``i - reach(blocks) .. i`` alone.
        """
        return self.advance(self.embed(ids, species), 0, blocks)

    def advance(self, h: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks ``start .. stop - 1`` on a residual stream [batch, length, width]."""
        for block in self.blocks[start:stop]:
            h = block(h)
        return h

    def towers(self, ids: Tensor, species: Tensor, blocks: int | None = None) -> Towers:
        """Residual streams of both strands in forward coordinates, not normalised."""
        depth = len(self.blocks) if blocks is None else blocks
        both = torch.cat([ids, complement(ids).flip(1)])
        left, right = self.residual(both, torch.cat([species, species]), depth).chunk(2)
        return Towers(left, right.flip(1))

    def head(self, towers: Towers, *, symmetric: bool) -> Tensor:
        """Logits of every base from the final residual streams of both towers.

        Parameters
        ----------
        towers : Towers
            Residual streams after the last block.
        symmetric : bool
            Average with the logits of the other strand, complemented, which makes
            the prediction of a sequence and of its reverse complement agree exactly.

        Returns
        -------
        logits : float tensor, shape [batch, length, 4]
            In the order A, C, G, T; base i is not an input of row i.
        """
        left, right = self.beside(towers)
        logits = self.logits(self.joint(left, right))
        if symmetric:
            logits = (logits + self.logits(self.joint(right, left)).flip(-1)) / 2
        return logits

    def beside(self, towers: Towers) -> Towers:
        """Normalised towers at the bases before and behind each base; see `head`."""
        left, right = self.norm(towers.left), self.norm(towers.right)
        return Towers(F.pad(left[:, :-1], (0, 0, 1, 0)), F.pad(right[:, 1:], (0, 0, 0, 1)))

    def joint(self, near: Tensor, far: Tensor) -> Tensor:
        """Where both towers meet, float [batch, length, joint_width]; `near` is read first."""
        return F.gelu(self.joint_in(torch.cat([near, far], -1)), approximate="tanh")

    def logits(self, joint: Tensor) -> Tensor:
        """Logits [batch, length, 4], in the sense of the read, of the layer of `joint`."""
        z = joint + F.gelu(self.joint_hidden(joint), approximate="tanh")
        return torch.as_tensor(self.out(self.joint_norm(z)))

    def forward(self, ids: Tensor, species: Tensor, *, symmetric: bool = False) -> Tensor:
        """Logits [batch, length, 4] of every base given all the others."""
        return self.head(self.towers(ids, species), symmetric=symmetric)


class PairedTreeReader:
    """A paired-strand tree as a `protocol.LanguageModel`: one tower, species 0."""

    def __init__(self, model: PairedTree) -> None:
        self.model = model.requires_grad_(False).eval()

    @property
    def width(self) -> int:
        """Channels of the residual stream."""
        return self.model.config.width

    @property
    def n_blocks(self) -> int:
        """Blocks of a tower."""
        return len(self.model.blocks)

    @property
    def max_length(self) -> None:
        """No window is too long for a tree."""
        return

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Residual stream of the tower that reads in the direction of `codes`.

        Row i depends on the `PairedTreeConfig.reach` bases before it at most; see
        `protocol.LanguageModel.activations`.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        return self.model.residual(codes.long(), self._species(codes), layer)

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Log probabilities of A, C, G, T given all other bases; float32 [batch, length, 4].

        The same for a sequence and for its reverse complement, complemented.
        """
        return self.spliced_log_probabilities(codes, 0, lambda h: h)

    @property
    def two_sided(self) -> bool:
        """A base is expected from both towers."""
        return True

    @torch.inference_mode()
    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """See `protocol.SplicedLanguageModel`; `splice` is given both towers, as rows.

        The first half of the rows reads `codes`, the second their reverse complements.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        ids = codes.long()
        both = torch.cat([ids, complement(ids).flip(1)])
        h = splice(self.model.residual(both, self._species(both), layer))
        left, right = self.model.advance(h, layer, self.n_blocks).chunk(2)
        logits = self.model.head(Towers(left, right.flip(1)), symmetric=True)
        return F.log_softmax(logits.float(), -1)

    def _species(self, codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), dtype=torch.long, device=codes.device)


def load_paired_tree(state: Mapping[str, Tensor], config: PairedTreeConfig) -> PairedTree:
    """Make a paired-strand tree from a state dict of any float type.

    Parameters
    ----------
    state : mapping of str to tensor
        As `PairedTree.state_dict` names them.
    config : PairedTreeConfig
        Sizes, which the tensors must have.

    Returns
    -------
    model : PairedTree
        In float32 and evaluation mode, on the device of the weights.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown or of another shape.
    """
    # torch imports half of itself to draw on the meta device: drawing for real is faster
    with torch.random.fork_rng(devices=[]):
        model = PairedTree(config)
    try:
        model.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights are not those of a paired-strand tree of {config}. torch says: {error}"
        ) from error
    return model.eval()
