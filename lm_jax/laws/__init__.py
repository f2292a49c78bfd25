"""Laws over sizes: loss by parameters and tokens, and what widths have in common.

`points` gathers runs, `law` fits their losses, `bootstrap` says how surely; `budget` is
the best use of FLOPs, and a `prediction` is written before its run. `transfer` and
`coordinates` are muP's checks.
"""
