"""A region by hand: two feature rows, a gene on each strand, a motif, eight bases a unit."""

import numpy as np

from app.figure_genes import Gene
from app.figure_runs import Runs
from app.figures import Motif, Peak, Region, Signal, Site


def runs(*parts: tuple[int, int, float]) -> Runs:
    """Stretches of one value: start, end, value."""
    start, end, value = zip(*parts, strict=True) if parts else ((), (), ())
    return Runs(np.array(start, np.int64), np.array(end, np.int64), np.array(value, np.float32))


def toy_region(*, zoomed: bool = False) -> Region:
    """Bases 1,001 to 2,000 of chrA, or twenty of them with their letters."""
    signals = [
        Signal(
            name="12-",
            label="REB1-like motif",
            runs=runs((1005, 1007, 2.0), (1007, 1008, 4.0), (1500, 1600, 1.0)),
            peaks=[Peak(1007, "causal"), Peak(1550, "unknown")],
        ),
        Signal(name="7", label="", runs=runs(), note=""),
    ]
    return Region(
        contig="chrA",
        start=1000,
        end=1020 if zoomed else 2000,
        signals=signals,
        genes=[
            Gene("ABC1", 1, ((1100, 1200), (1400, 1500)), (1150, 1450)),
            Gene("XYZ<2>", -1, ((1700, 2300),)),
        ],
        motifs=[Motif("REB1 MA0363.3", [Site(1003, 1010, 1), Site(1600, 1607, -1)])],
        bases="ACGTNACGTTTTTTTTTTTT" if zoomed else None,
        metadata='{"made_by": "a test"}',
    )
