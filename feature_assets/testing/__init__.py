"""Shipped test tools: a simulated clock, a lake in memory, a store that fails, and the simulator over them."""
