"""Evaluators: each file scores architectures in one way."""
