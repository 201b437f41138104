"""The REST API: images in, boxes out; what was stored, read back; people's reviews and decisions.

    request ─► authorise (permissions, tokens) ─► route ─► persistence | registry | detector ─► answer or problem+json

app           the factory: reads as a table of contents
parts         what routes work with, made once per process
permissions   the one table route → role; a route outside it keeps the service from starting
tokens        is this token ours, and what may its bearer do
problems      every error as problem+json
routes/       one module per subject            answers/    what they answer, with units
inputs        what they take, bounded           cursors     where the next page begins
images        from the store, never held whole  tickets     links to images for a minute
"""
