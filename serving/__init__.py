"""Serving an exported model: model repositories, their configuration files, server and client."""
