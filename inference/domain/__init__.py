"""What inference means, without any I/O: everything here is a value or a pure function.

    bytes ──decode──► image ──letterbox──► model input ──(engine)──► raw output ──nms──► Detections

model_spec    how one model wants its input and what it answers
microbatch    when a batch is full or old enough
batching      which size of a batch is worth its wait
scored        which frames are scored, and which a batch run has to do
agreement     how far two models agree on the same frames
"""
