"""From YAML to a checked study: its cells, method families, checks and catalog."""
