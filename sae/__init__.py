"""Floor 1: TopK sparse autoencoders - model, training, metrics, interchange."""
