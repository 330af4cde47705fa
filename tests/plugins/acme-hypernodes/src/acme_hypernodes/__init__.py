"""What Acme's data teams share on top of HyperNodes."""
