"""Everything that moves data.

cameras/       folder, video, RTSP, device, simulator ──► topics frames and sessions
sinks/*.json   the desired connectors; reconcile plans, apply acts, watchdog keeps them running
dead_letters   what a consumer refused: list, show, replay
topic_figures  lag, rate and dead letters by the broker's offsets; sink_states: what Connect says of each sink
"""
