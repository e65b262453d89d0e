"""Floor 1: drawing. Plain arrays in, PNG files out; imports nothing of ours."""
