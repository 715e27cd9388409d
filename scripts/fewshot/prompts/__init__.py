"""From rows to prompt texts, and from texts to tokens."""
