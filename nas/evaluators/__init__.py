"""What an architecture scores: one file a way of finding out."""
