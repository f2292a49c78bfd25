"""Many processes, and plans for machines that are not here.

`launching`, `slurm`, `pods` and `kubernetes` start processes, `place` and `rendezvous`
say which each is, `gpus` what it computes on, `taking_part` starts jax in it, and by
`liveness` it hears that another is gone. `plan` compiles a step for a `topology` and
says what a device holds; `cost` reads that from the program (`hlo`), and `side_by_side`
compares ways to split it.
"""
