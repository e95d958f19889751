"""Momentry's demo application: an API server and a worker, configured by the environment alone."""
