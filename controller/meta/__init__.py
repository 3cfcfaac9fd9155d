"""What is learned across tasks: one file a meta-learner."""
