"""What can be searched: one file a space; files that begin with an underscore are shared."""
