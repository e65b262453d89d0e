"""Settings of training that came after the first studies, and what the code did before. Imports nothing heavy."""

# Name in ``SAESettings`` -> the value under which everything is as it was: hashes and checkpoints leave it out there.
LEGACY = {
    "buffer_gb": None,
    "vectors": None,
    "axes": "channels",
    "encoder_start": 1.0,
    "adam_betas": [0.9, 0.999],
}
# Names that say when SAEs are refreshed, and nothing of how they are trained.
LATER = ("refresh", "refresh_from")
