"""The local stack: real servers, started, supervised and stopped by `sightline up` and `sightline down`."""
