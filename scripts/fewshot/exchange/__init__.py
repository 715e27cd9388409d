"""Results made elsewhere and results that travel: archives and lm-evaluation-harness."""
