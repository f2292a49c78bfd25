"""What a run writes and shows: its directory, its records and its picture."""
