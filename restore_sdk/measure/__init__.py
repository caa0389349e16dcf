"""What a user measures on a host: bench, verify, doctor."""
