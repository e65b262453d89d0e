"""Floor 1: the model under study - load it, sample from it, record it, edit it."""
