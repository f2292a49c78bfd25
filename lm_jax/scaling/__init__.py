"""Many processes, and plans for machines that are not here."""
