"""Chat in the terminal, the server, and its page."""
