"""Reports of sweeps and runs: one page, tables for a paper, figures for print.

`gathering` reads folders into what `gathered` describes; `page`, `papers`, `prints` and
`objects` write it. `serving` is the page while runs train. `inspected` and
`inspected_page` are of what a model says of a text.
"""
