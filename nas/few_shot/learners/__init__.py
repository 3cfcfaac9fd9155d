"""Few-shot learners, one file each; `nas few-shot --learner NAME` finds them by the name of their file."""
