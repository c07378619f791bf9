"""The store of encoded videos, its ingest, and search over it."""
