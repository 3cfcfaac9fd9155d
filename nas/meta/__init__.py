"""Learning across tasks: what a prior is trained on, and how."""
