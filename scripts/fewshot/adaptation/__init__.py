"""One adaptation job: read, adapt seed by seed, score, store."""
