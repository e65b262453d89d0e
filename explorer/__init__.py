"""The explorer: web pages over a study folder, on this machine alone. ``concepts explore DIR`` starts it."""
