"""Features over HTTP: JSON and MessagePack over the same read path as in process.

bodies      what a request may be             encoding   what an answer looks like
access      who may ask what                  limits     how much at once
app         the routes                        server     one process that serves them
openapi     the document                      audit      who asked what, for how long it took
"""
