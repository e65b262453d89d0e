"""The kinds of SAE that a study trains, as the column ``kind`` names them."""

from sae.kinds import FROZEN, FROZEN_ENCODER, SOFT_FROZEN, TRAINED

UNTRAINED, SHARED = "untrained", "shared"
HELD = (FROZEN, SOFT_FROZEN, FROZEN_ENCODER)  # controls that train, a part of them held at or near its start

__all__ = ["FROZEN", "FROZEN_ENCODER", "HELD", "SHARED", "SOFT_FROZEN", "TRAINED", "UNTRAINED"]
