"""What comes from the Hub, at which revision, and how much room it takes."""
