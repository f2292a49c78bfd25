"""Operations: the plain form, and those that suit a backend or a shape."""
