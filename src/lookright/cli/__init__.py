"""The command line: one thin file per command; what a command does lives in the rooms below."""
