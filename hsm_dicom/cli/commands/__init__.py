"""One module for each command or group of commands: its options, and the library call that does the work."""
