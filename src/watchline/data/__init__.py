"""Exposure data: canonical schema, sources, splits and the encoding of tables into arrays."""
