"""The commands of those who run the fleet."""
