"""What can be said about network descriptions: mistakes in one, differences of two, support."""
