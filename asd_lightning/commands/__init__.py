"""One module for each subcommand of asd: its arguments, and the call into the room that does the work."""
