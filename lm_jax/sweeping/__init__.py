"""Carry out a plan: check, preview, train its cells, show what goes on.

`sweep` does all of it: `checks` and `preview` first, then `work`, which trains `cells`
one after another, `together` by one program, `side_by_side` in processes (`worker`), or
`submitted` to a cluster (`task`). `live` is what people see.
"""
