"""The command line: every sub-command, its options, its tables, and its output folder."""
