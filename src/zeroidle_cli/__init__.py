"""The command line: the only code that knows both the product and the local cloud."""
