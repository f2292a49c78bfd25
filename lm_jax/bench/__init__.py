"""Speed, measured beside the same model in PyTorch."""
