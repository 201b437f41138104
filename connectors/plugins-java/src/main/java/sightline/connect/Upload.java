package sightline.connect;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.sink.SinkRecord;

/**
 * One record on its way into the store.
 *
 * <pre>
 * waiting ──► stored ─────────────────────────► done
 *         ──► refused ──► dead letter written ─► done
 *         ──► failed      a fault of the sink itself: the task stops
 * </pre>
 *
 * The pool's thread settles it; everything else is done by the task's thread.
 */
final class Upload {

    private enum State { WAITING, STORED, REFUSED, FAILED }

    private final long offset;
    /** Kept until the outcome is known: a dead letter needs the record. */
    private SinkRecord record;
    private Throwable reason;
    private Future<Void> deadLetter;
    private boolean isDeadLetterWritten;
    private volatile boolean isAbandoned;
    private volatile State state = State.WAITING;

    Upload(SinkRecord record) {
        this.record = record;
        this.offset = record.originalKafkaOffset();
    }

    long offset() {
        return offset;
    }

    void stored() {
        record = null;
        state = State.STORED;
    }

    void refused(DataException why) {
        reason = why;
        state = State.REFUSED;
    }

    void failed(Throwable why) {
        reason = why;
        state = State.FAILED;
    }

    /** Another task owns the partition now; this one stops trying. */
    void abandon() {
        isAbandoned = true;
    }

    boolean isAbandoned() {
        return isAbandoned;
    }

    /** Whether nothing remains to be done: the offset may be committed. */
    boolean isDone() {
        return state == State.STORED || isDeadLetterWritten;
    }

    /**
     * Hands a refused record over to the dead letters, and brings the faults to light.
     *
     * @throws ConnectException the sink failed, or the dead letter could not be written: the task must stop
     */
    void report(DeadLetters deadLetters) {
        if (state == State.FAILED) {
            throw new ConnectException("the sink failed at offset " + offset + ": " + reason, reason);
        }
        if (state == State.REFUSED && deadLetter == null) {
            deadLetter = deadLetters.report(record, reason);
            record = null;
        }
        if (deadLetter != null && deadLetter.isDone()) {
            try {
                deadLetter.get();
                isDeadLetterWritten = true;
            } catch (ExecutionException error) {
                throw new ConnectException("the dead letter of offset " + offset + " was not written", error);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
                throw new ConnectException("interrupted", error);
            }
        }
    }

    /** Where refused records go. */
    interface DeadLetters {
        Future<Void> report(SinkRecord record, Throwable reason);
    }
}
