"""What runs say of a question: paired differences, tests, verdicts in words."""
