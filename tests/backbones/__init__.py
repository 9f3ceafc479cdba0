"""Pretrained networks."""
