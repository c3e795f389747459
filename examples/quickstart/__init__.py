"""Littoral's quickstart: three real networks, pictures to ask them about, and a demo of both."""
