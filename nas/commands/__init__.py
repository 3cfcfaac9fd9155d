"""One file a subcommand of `nas`; each holds `command`, a click command whose help has an `Example:`."""
