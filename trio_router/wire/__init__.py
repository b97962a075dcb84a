"""How bytes are framed: lines, server-sent events, NDJSON.  Sans-IO, standard library and JSON only."""
