"""The scorer's benchmark: `make bench-scorer`; not collected by pytest."""
