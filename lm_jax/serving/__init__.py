"""Chat in the terminal, the server, and its page.

A request goes through `guard` and `app`, is read by `asked`, becomes `jobs` of the
`engine`, which calls the compiled `programs`, and is told by `answers`. `embedding` is
the same for vectors. `opening` reads the run, and `server` begins and ends it all;
`conversation` is the chat in the terminal.
"""
