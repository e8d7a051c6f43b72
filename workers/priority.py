"""How a worker gives way to the web process beside it."""

import os
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int, autogroup: Path = AUTOGROUP) -> bool:
    """Lower the priority of this process, and of its session where it leads one.

    A kernel with autogrouping (sched(7)) shares the CPUs between sessions first, and counts
    the niceness of a process inside its session alone: a worker that leads a session of its
    own, as a tended worker does, would otherwise take as much of a busy machine as the web
    process whatever its niceness.

    Parameters
    ----------
    niceness : int
        0 to 19, as nice(1); 0 changes nothing.
    autogroup : Path
        The kernel's file of this process; it is not there on kernels without autogrouping.

    Returns
    -------
    bool
        Whether the session gives way as well.
    """
    # before there are threads, which would keep the niceness they have
    os.nice(niceness)
    if not niceness or os.getsid(0) != os.getpid() or not autogroup.exists():
        return False
    autogroup.write_text(str(niceness), encoding="ascii")
    return True
