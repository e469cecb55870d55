"""The studies that ship with `ablate`, one YAML file each."""
