"""What operators see of it: events, and who listens to them (design 12)."""
