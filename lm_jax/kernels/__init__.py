"""One file an operation: the plain form, and those that suit a backend or a shape."""
