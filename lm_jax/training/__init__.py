"""Both kinds of fit: by steps, and by one pass that counts.

`fitting` is what Python calls. `setup` makes of an experiment what is `resolved`, after
`checks` and `compatibility`; `run` begins a directory, goes on with it and ends it;
`loop` makes the steps between. `step` is one step as a pure function of a `state`,
`compiled` is where it is jitted, and `scoring` is the model as evaluations see it.
`restart` saves and restores, `blame` and `replay` make steps again. `counting` is the
fit without steps.
"""
