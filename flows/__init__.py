"""Floor 4: Prefect flows, the command line, the server, and how they talk to a terminal."""
