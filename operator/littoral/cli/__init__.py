"""The command line: `littoral`, also as `kubectl littoral`."""
