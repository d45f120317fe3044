"""A long run under a steady load."""
