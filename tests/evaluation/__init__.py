"""One file for each kind of score."""
