"""The command line: one module a command, each parses, makes one call of the library, and prints."""
