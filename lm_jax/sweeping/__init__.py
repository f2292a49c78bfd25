"""Carry out a plan: check, preview, train its cells, show what goes on."""
