"""The limits of one stage: time and memory."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract.typed import Above0


@dataclass(frozen=True)
class Limits:
    """Of one job: seconds on the clock, and GB (10^9 bytes) that its process may hold.

    What the server has (torch, a few hundred MB) is shared by all and charged to none.
    """

    seconds: Above0 = 6 * 3600  # which no stage of a few hours comes to
    memory_gb: Above0 = 8
