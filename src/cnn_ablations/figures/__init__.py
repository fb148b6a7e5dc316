"""Figures: arrays and tables in, one matplotlib Figure out, one function a figure."""
