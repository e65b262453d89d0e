"""A site: which block's residual update, at which timestep, in which half of classifier-free guidance."""

from __future__ import annotations

from typing import Any, NamedTuple

AnySite = tuple[str, float, str]  # a Site, or the plain tuple that equals one


class Site(NamedTuple):
    """(block, timestep, conditioning), as one name for a place in the model; equal to the plain tuple.

    ``t`` is in [0, 1], 1 at the noise that sampling starts from; ``conditioning`` is ``cond`` or ``uncond``.
    """

    block: str
    t: float
    conditioning: str

    @property
    def path(self) -> str:
        """``block/t/conditioning`` as in the folder contract, t with two decimals."""
        return f"{self.block}/{self.t:.2f}/{self.conditioning}"

    @property
    def series(self) -> str:
        """``block/conditioning``: the sites that differ from this one in time only."""
        return f"{self.block}/{self.conditioning}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that name it in every site table."""
        return self._asdict()

    @property
    def filters(self) -> list[tuple[str, str, Any]]:
        """What picks its rows of a site table."""
        return [(name, "==", value) for name, value in self._asdict().items()]
