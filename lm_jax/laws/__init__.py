"""Laws over sizes: loss by parameters and tokens, and what widths have in common."""
