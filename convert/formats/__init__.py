"""Formats of mice: each read and, where it can be, written in one place; `registry` lists them."""
