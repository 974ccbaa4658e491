"""What must be survived: kills, faults, floods."""
