"""What the commands of `ablate` do; `ablate.cli` holds their names, options and help."""
