"""One command a file; each is `options -> connection -> what it prints`."""
