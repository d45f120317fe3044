"""Crashes, stops and worse under load, drawn by a seed, and the verdict on what has arrived."""
