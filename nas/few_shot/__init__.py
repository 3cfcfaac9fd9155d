"""Few-shot learning: episodes of a few classes and a few images each, and learners that are trained on them."""
