"""How bytes are framed: lines, server-sent events, NDJSON, JSON, forms, compression.  Sans-IO.

What flows through.  Bytes in any pieces go in; complete records come out, as bytes.

    lines                   lines, split as bytes
    sse, ndjson, json_array, json_end, eventstream
                            the formats of streams
    detect                  which of them an answer is in
    jsoncodec               JSON on the data path: msgspec, with a fallback
    jsonslices, jsonwriter, jsonexact
                            long JSON in slices; numbers that no float holds
    inflate, unzstd         gzip and deflate, and zstd, in bounded slices
    multipart, parameters   forms, one field rewritten; header parameters
    names                   what may be the name of a model

Invariants.
- The same bytes give the same records, wherever they are cut between reads.
- Memory is bounded by a limit that is passed in; input beyond it raises.
- Every parser takes linear time, and no step holds the interpreter's lock for more than milliseconds.

What it may not know: HTTP, dialects, models, time.
"""
