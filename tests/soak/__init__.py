"""Long runs of the service under load and faults; each is a script, and a test runs a short one."""
