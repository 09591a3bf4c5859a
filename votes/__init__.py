"""VOTES: restoring videos that social platforms have shrunk and compressed (ACM MM 2022)."""

__version__ = '0.1.0'
