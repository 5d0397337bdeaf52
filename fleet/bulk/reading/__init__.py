"""Reads files of rows in constant memory: lines, tables, templates, and what is wrong with them."""
