"""What a run writes and shows: its directory, its records and its picture.

`directory` and `claim` say whose a directory is. Training writes `metrics`, `ledger`,
`checkpoints` and, at its end, `result`; `model` reads a fitted model back,
and `writing` is what any model does with texts. `rows` and `table`
gather the results of many runs; `display` is what a person sees of one.
"""
