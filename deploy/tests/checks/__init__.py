"""What deploy/ promises, one module per part of it; main.py says in which order they run."""
