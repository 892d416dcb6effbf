"""Runs functions over blocks of pandas' frames and series."""
