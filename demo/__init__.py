"""Momentry's demo: a stand-in production's schema, people and data, and a small application."""
