"""Frames in, detections out.

stream, delivery                  services and jobs
engines, registry, persistence    adapters: what runs a model, where versions live, where results lie
domain                            no I/O: images, detections, micro-batches
"""
