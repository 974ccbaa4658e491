"""The whole loop through the doors that its users take."""
