"""The routes, one module per subject: each reads left to right, request → domain and persistence → answer."""
