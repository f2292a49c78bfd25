"""Reports of sweeps and runs: one page, tables for a paper, figures for print."""
