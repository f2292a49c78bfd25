"""What a fitted model says of single texts, token by token, and why."""
