"""Real servers, started for a test session on the loopback interface and ended with it."""
