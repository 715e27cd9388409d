"""Finished results, taken up again: archives, lm-evaluation-harness, the Hub, trackers, adapters,
new texts, latency."""
