"""Cameras: whatever gives images becomes records on the topics frames and sessions.

SOURCE ──sources──► CapturedImage ──sending──► Capture ──► frames    one record per image
                    RejectedImage ─┘              └──────► sessions  open, every second, close
"""
