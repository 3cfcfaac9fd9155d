"""Settings of learners, searched for on validation classes or tasks."""
