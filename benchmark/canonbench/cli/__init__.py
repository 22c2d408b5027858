"""The command line: parses, prints, exits. No logic of its own."""
