"""What platforms do to videos: measured from pairs, written as a recipe, verified, and shown on a sheet."""
