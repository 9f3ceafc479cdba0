"""What methods share, and which knows no method: losses, memory, averages, forward modes, ramps."""
