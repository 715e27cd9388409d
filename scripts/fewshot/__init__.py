"""The library behind the rules: data, prompts, scoring, training, statistics and figures."""
