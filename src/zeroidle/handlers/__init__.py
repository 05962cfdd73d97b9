"""What is done when something happens? One use case per file: load, decide, apply."""
