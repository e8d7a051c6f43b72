"""Taps of a paired-strand tree besides the residual stream of one tower.

    update   left[i] after some blocks less its embedding: what the blocks added
    pair     [left[i]; right[i]] after some blocks: base i and both of its sides
    joint    gelu(W [norm(left[i - 1]); norm(right[i + 1])]): both sides without base i
    block    [given; added] of the last of some blocks: norm(left[i]) and norm(left[i - d]), and
             what the block makes of them, which it adds to left[i]

The embedding is a table of k-mers, with random weights as much as with trained ones, and a
dictionary of the residual stream spends itself on it; the update holds what was learnt beyond.
A dictionary of a block is a transcoder (Dunefsky et al. 2024, arXiv:2406.11944): it reads what the
block is given and writes what it adds, so its features are those of the computation.

A forward read gives these; a read of the reverse complement gives the same towers in the other
order. So there is one activation for each base and strand, and those of a sequence are those of
its reverse complement on the other strand. In a pair and where towers meet, both look away from
the base: a window needs its context on both sides.
"""

from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from annotations.errors import CoordinateError
from workers.language_models.paired_tree import (
    Block,
    PairedTree,
    PairedTreeReader,
    Towers,
    complement,
)
from workers.language_models.protocol import LanguageModel, Splice, check_window

Tap = Literal["residual", "update", "pair", "joint", "block"]


class Reads(NamedTuple):
    """Activations at a tap of both reads of some windows, in forward coordinates."""

    forward: Tensor
    """Float [batch, length, channels]."""
    reverse: Tensor
    """Of the reverse complement, at the base each belongs to; float [batch, length, channels]."""


def tap_width(model: PairedTree, tap: Tap) -> int:
    """Channels of a tap."""
    config = model.config
    widths: dict[Tap, int] = {
        "pair": 2 * config.width,
        "joint": config.joint_width,
        "block": 3 * config.width,
    }
    return widths.get(tap, config.width)


def read_and_written(tap: Tap, width: int) -> tuple[slice, slice]:
    """Channels that a dictionary of a tap of `width` channels reads, and those it writes.

    Examples
    --------
    >>> read_and_written("block", 384)
    (slice(0, 256, None), slice(256, 384, None))
    """
    if tap == "block":
        given = width // 3 * 2
        return slice(0, given), slice(given, width)
    return slice(0, width), slice(0, width)


def tap_reach(model: PairedTree, layer: int, tap: Tap) -> int:
    """Bases on a side of a base that its activations depend on at most."""
    return model.config.reach(layer) + (tap == "joint")


def check_tap(model: PairedTree, layer: int, tap: Tap) -> None:
    """Refuse a joint tap that is not above all blocks, an update of none, a block of attention.

    Raises
    ------
    CoordinateError
        If `layer` is not all blocks of the model, is 0, or is beyond the tree.
    """
    if tap == "update" and layer == 0:
        raise CoordinateError("the tap update is what blocks added, got layer 0; name 1 or more")
    tree = len(model.config.distances)
    if tap == "block" and not 1 <= layer <= tree:
        raise CoordinateError(
            f"the tap block is one of the {tree} blocks of the tree, got layer {layer}; name 1 to "
            f"{tree}"
        )
    if tap == "joint" and layer != len(model.blocks):
        raise CoordinateError(
            f"the tap joint lies above all {len(model.blocks)} blocks of this model, got layer "
            f"{layer}; name the last layer or the tap pair"
        )


def read_tap(model: PairedTree, ids: Tensor, species: Tensor, layer: int, tap: Tap) -> Reads:
    """Activations of both reads of some windows.

    Parameters
    ----------
    model : PairedTree
    ids : int64 tensor, shape [batch, length]
        Base codes.
    species : int64 tensor, shape [batch]
        Row of the species table.
    layer : int
        Blocks done.
    tap : {"residual", "update", "pair", "joint", "block"}

    Returns
    -------
    reads : Reads

    Raises
    ------
    CoordinateError
        As `check_tap`.
    """
    check_tap(model, layer, tap)
    if tap == "block":
        before = model.towers(ids, species, layer - 1)
        turned = given_and_added(model, before.right.flip(1), layer)
        return Reads(given_and_added(model, before.left, layer), turned.flip(1))
    towers = model.towers(ids, species, layer)
    if tap == "residual":
        return Reads(*towers)
    if tap == "update":
        embedded = model.towers(ids, species, 0)
        return Reads(towers.left - embedded.left, towers.right - embedded.right)
    if tap == "joint":
        left, right = model.beside(towers)
        return Reads(model.joint(left, right), model.joint(right, left))
    return Reads(torch.cat(towers, -1), torch.cat(towers[::-1], -1))


def given_and_added(model: PairedTree, h: Tensor, layer: int) -> Tensor:
    """Input and output of block `layer` at the stream before it; float [..., 3 width]."""
    block = cast(Block, model.blocks[layer - 1])
    given = block.given(h)
    return torch.cat([given, block.added(given)], -1)


class UpdateReader(PairedTreeReader):
    """A paired-strand tree read at the updates of one tower; see `protocol.LanguageModel`."""

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """What the first `layer` blocks added to the tower that reads in the sense of `codes`.

        Row i depends on the `tap_reach` bases before it at most.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        check_tap(self.model, layer, "update")
        embedded = self.model.embed(codes.long(), self._species(codes))
        return self.model.advance(embedded, 0, layer) - embedded

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """As of the model read at any other tap."""
        return self.spliced_log_probabilities(codes, self.n_blocks, lambda h: h)

    @torch.inference_mode()
    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """See `protocol.SplicedLanguageModel`; `splice` is given the updates of both towers.

        The first half of the rows reads `codes`, the second their reverse complements.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        check_tap(self.model, layer, "update")
        model, ids = self.model, codes.long()
        both = torch.cat([ids, complement(ids).flip(1)])
        embedded = model.embed(both, self._species(both))
        h = embedded + splice(model.advance(embedded, 0, layer) - embedded)
        left, right = model.advance(h, layer, self.n_blocks).chunk(2)
        logits = model.head(Towers(left, right.flip(1)), symmetric=True)
        return F.log_softmax(logits.float(), -1)


class BlockReader(PairedTreeReader):
    """A paired-strand tree read at a block of one tower; see `protocol.LanguageModel`."""

    @property
    def width(self) -> int:
        """Channels of the tap."""
        return tap_width(self.model, "block")

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """What block `layer` of the tower that reads in the sense of `codes` is given, and adds.

        Row i depends on the `tap_reach` bases before it at most.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        check_tap(self.model, layer, "block")
        before = self.model.residual(codes.long(), self._species(codes), layer - 1)
        return given_and_added(self.model, before, layer)

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """As of the model read at any other tap."""
        return self.spliced_log_probabilities(codes, 1, lambda h: h)

    @torch.inference_mode()
    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """See `protocol.SplicedLanguageModel`; `splice` is given the block in both towers.

        The first half of the rows reads `codes`, the second their reverse complements. Of what
        it returns the part that the block adds goes on.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        check_tap(self.model, layer, "block")
        model, ids = self.model, codes.long()
        both = torch.cat([ids, complement(ids).flip(1)])
        before = model.residual(both, self._species(both), layer - 1)
        _, written = read_and_written("block", self.width)
        h = before + splice(given_and_added(model, before, layer))[..., written]
        left, right = model.advance(h, layer, self.n_blocks).chunk(2)
        logits = model.head(Towers(left, right.flip(1)), symmetric=True)
        return F.log_softmax(logits.float(), -1)


class TwoSidedReader(PairedTreeReader):
    """A paired-strand tree read at a tap of both towers; see `protocol.LanguageModel`."""

    def __init__(self, model: PairedTree, tap: Tap) -> None:
        super().__init__(model)
        self.tap = tap

    @property
    def width(self) -> int:
        """Channels of the tap."""
        return tap_width(self.model, self.tap)

    @torch.inference_mode()
    def activations(self, codes: Tensor, layer: int) -> Tensor:
        """Activations of the read in the direction of `codes`.

        Row i depends on the `tap_reach` bases on each side of it at most.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        species = self._species(codes)
        return read_tap(self.model, codes.long(), species, layer, self.tap).forward

    @torch.inference_mode()
    def log_probabilities(self, codes: Tensor) -> Tensor:
        """As of the model read at any other tap."""
        return self.spliced_log_probabilities(codes, self.n_blocks, lambda h: h)

    @torch.inference_mode()
    def spliced_log_probabilities(self, codes: Tensor, layer: int, splice: Splice) -> Tensor:
        """See `protocol.SplicedLanguageModel`; `splice` is given both reads, as rows.

        A tower that both reads hold goes on as the mean of what is returned for it.
        """
        check_window(codes, layer=layer, n_blocks=self.n_blocks, max_length=None)
        model, ids = self.model, codes.long()
        reads = read_tap(model, ids, self._species(codes), layer, self.tap)
        given = splice(torch.cat([reads.forward, reads.reverse.flip(1)]))
        forward, reverse = given.chunk(2)
        reverse = reverse.flip(1)
        if self.tap == "joint":
            logits = (model.logits(forward) + model.logits(reverse).flip(-1)) / 2
            return F.log_softmax(logits.float(), -1)
        near, far = forward.chunk(2, -1)
        other_far, other_near = reverse.chunk(2, -1)
        left, right = (near + other_near) / 2, (far + other_far) / 2
        done = model.advance(torch.cat([left, right.flip(1)]), layer, self.n_blocks)
        left, right = done.chunk(2)
        logits = model.head(Towers(left, right.flip(1)), symmetric=True)
        return F.log_softmax(logits.float(), -1)


def at_tap(reader: PairedTreeReader, tap: Tap) -> LanguageModel:
    """The same model, read at another tap."""
    if tap == "residual":
        return reader
    if tap == "update":
        return UpdateReader(reader.model)
    if tap == "block":
        return BlockReader(reader.model)
    return TwoSidedReader(reader.model, tap)
