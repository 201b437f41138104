"""The commands, a module each: `register(app)` adds what it offers. What is heavy is imported when a command runs."""
