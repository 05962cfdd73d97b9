"""What crosses a process boundary, written once: messages, events, names, and what the services say to each other."""
