"""Doors from tools of others: each file needs the package it is named after."""
