package sightline.connect;

import java.time.Duration;
import org.slf4j.Logger;

/** Logs the begin of an outage, a reminder each half minute, and the end: not a line per attempt. */
final class Outage {

    private static final long REMINDER_NS = Duration.ofSeconds(30).toNanos();

    private final Logger log;
    private final String what;
    private volatile String reason;
    private long sinceNs;
    private long saidNs;

    /** @param what which neighbour, for the log */
    Outage(Logger log, String what) {
        this.log = log;
        this.what = what;
    }

    synchronized void noted(String why) {
        long nowNs = System.nanoTime();
        if (reason == null) {
            sinceNs = nowNs;
        }
        if (reason == null || nowNs - saidNs > REMINDER_NS) {
            saidNs = nowNs;
            log.warn("event={}_waited_for seconds={} reason=\"{}\"", what, seconds(nowNs), why);
        }
        reason = why;
    }

    /** Cheap while there is none: called after every success. */
    void over() {
        if (reason != null) {
            end();
        }
    }

    private synchronized void end() {
        if (reason != null) {
            log.info("event={}_back seconds={}", what, seconds(System.nanoTime()));
            reason = null;
        }
    }

    /** The last reason while the outage lasts, otherwise null. */
    String reason() {
        return reason;
    }

    private long seconds(long nowNs) {
        return Duration.ofNanos(nowNs - sinceNs).toSeconds();
    }
}
