"""Everything that moves data.

cameras/       folder, video, RTSP, device, simulator ──► topics frames and sessions
sinks/*.json   the desired connectors; reconcile plans, apply acts, watchdog keeps them running
dead_letters   what a consumer refused: list, show, replay
"""
