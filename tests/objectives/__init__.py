"""What is learnt: the objectives."""
