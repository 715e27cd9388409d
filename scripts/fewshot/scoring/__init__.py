"""The log-probability of label words behind a prompt."""
